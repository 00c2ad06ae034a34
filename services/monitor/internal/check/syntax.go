package check

import (
	"net/netip"
	"strconv"
	"strings"
)

const (
	letters    = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	tokenChars = letters + "!#$%&'*+-.^_`|~" // RFC 9110, 5.6.2
)

// isHost reports whether a text is a name or an address. Names that are not ASCII are taken: they are encoded before they are asked for.
func isHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Zone() == ""
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 || isNumeric(host) {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || !isLabel(label) {
			return false
		}
	}
	return true
}

// isNumeric reports whether the last label is a number: 127.1 and 2130706433 are addresses to some resolvers and names to others.
func isNumeric(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	_, err := strconv.ParseUint(last, 0, 64)
	return err == nil
}

func isLabel(label string) bool {
	for _, c := range label {
		if c < 0x80 && !strings.ContainsRune(letters+"-_", c) {
			return false
		}
	}
	return true
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

func isToken(text string) bool { return text != "" && strings.Trim(text, tokenChars) == "" }

// isFieldValue reports whether a text can be sent as a header's value.
func isFieldValue(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' && text[i] != '\t' || text[i] == 0x7f {
			return false
		}
	}
	return strings.TrimSpace(text) == text
}

// RecordTypes lists the types of DNS records that can be asked for: all but those that are no data, such as OPT, and transfers of a zone.
// Package probe's tests hold it against the library that asks.
func RecordTypes() []string {
	return strings.Fields(`A AAAA AFSDB AMTRELAY ANY APL ATMA AVC CAA CDNSKEY CDS CERT CNAME CSYNC DHCID DLV DNAME DNSKEY DS EID EUI48 EUI64 GID GPOS
		HINFO HIP HTTPS IPSECKEY ISDN KEY KX L32 L64 LOC LP MB MD MF MG MINFO MR MX NAPTR NID NIMLOC NINFO NS NSAP-PTR NSEC NSEC3 NSEC3PARAM
		NULL NXT OPENPGPKEY PTR PX RESINFO RKEY RP RRSIG RT SIG SMIMEA SOA SPF SRV SSHFP SVCB TA TALINK TLSA TXT UID UINFO URI X25 ZONEMD`)
}

// RCodes lists the response codes of DNS that can be expected.
func RCodes() []string {
	return []string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"}
}
