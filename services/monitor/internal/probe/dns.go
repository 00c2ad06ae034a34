package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

const (
	udpSize     = 1232 // no fragments on any usual path
	udpTries    = 3
	keptAnswers = 100

	noNameserver = "The prober could not ask its name server."
)

// dns asks a name server for records.
func (l *look) dns(ctx context.Context) error {
	question, err := l.question()
	if err != nil {
		return ownFault{"The monitor cannot be carried out: " + err.Error() + ".", err}
	}
	transport := l.job.Spec.Transport
	answer, err := l.exchange(ctx, transport, question)
	if err == nil && answer.Truncated && isUDP(transport) {
		answer, err = l.exchange(ctx, "tcp", question) // as every resolver does
	}
	if l.job.Spec.Resolver == "" && (errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EACCES)) {
		return ownFault{noNameserver, err}
	}
	if err != nil {
		return err
	}
	l.saw.status = answer.Rcode
	for _, record := range answer.Answer[:min(len(answer.Answer), keptAnswers)] {
		l.saw.answers = append(l.saw.answers, data(record))
	}
	l.saw.body = []byte(strings.Join(l.shownAnswers(), "\n"))
	return l.checkAnswers(question.Question[0].Qtype, answer)
}

func (l *look) question() (*dns.Msg, error) {
	spec := l.job.Spec
	name, err := idna.Lookup.ToASCII(spec.Host)
	if err != nil {
		name = spec.Host // names with an underscore, which DNS has and IDNA has not
	}
	qtype := dns.TypeA
	if spec.RecordType != "" {
		var ok bool
		if qtype, ok = dns.StringToType[spec.RecordType]; !ok {
			return nil, fmt.Errorf("there is no type of record %q", spec.RecordType)
		}
	}
	message := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	return message.SetEdns0(udpSize, false), nil
}

// exchange asks one server in one way. Over UDP it asks again, as every resolver does: a lost packet is not the server's fault.
func (l *look) exchange(ctx context.Context, transport string, question *dns.Msg) (*dns.Msg, error) {
	conn, socket, err := l.connectDNS(ctx, transport)
	if err != nil {
		return nil, err
	}
	defer socket.end()
	l.clock.enter(processing)
	answer, err := converse(ctx, conn, transport, question)
	if err != nil {
		return nil, err
	}
	l.clock.enter(idle)
	return answer, nil
}

// converse sends a question and waits for its answer, for as long as ctx, which has a deadline and whose end closes the connection.
func converse(ctx context.Context, conn *dns.Conn, transport string, question *dns.Msg) (answer *dns.Msg, err error) {
	deadline, _ := ctx.Deadline()
	tries := 1
	if isUDP(transport) {
		tries = udpTries
	}
	share := max(time.Until(deadline)/time.Duration(tries), time.Millisecond)
	for try := 1; try <= tries; try++ {
		client := dns.Client{Net: transport, Timeout: share}
		if try == tries {
			client.Timeout += time.Second // it is the end of ctx that ends the last one, or it would not be known why it ended
		}
		// The end of ctx closes the socket; its deadline on the socket would hide which of the two ended.
		answer, _, err = client.ExchangeWithConnContext(context.WithoutCancel(ctx), question, conn)
		if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			break
		}
	}
	return answer, err
}

// lookupAt asks a server for a name's addresses, and nobody else: no file of this machine either. Those of IPv4 come first.
func (p *Prober) lookupAt(ctx context.Context, server, family, name string) ([]netip.Addr, error) {
	none := &net.DNSError{Err: "no such host", Name: name, Server: server, IsNotFound: true}
	if _, valid := dns.IsDomainName(name); !valid {
		return nil, none
	}
	var answers [2][]netip.Addr
	var errs [2]error
	var both sync.WaitGroup
	for i, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		if family == "" || (family == "6") == (qtype == dns.TypeAAAA) {
			both.Go(func() {
				answers[i], errs[i] = p.addressesAt(ctx, server, new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype).SetEdns0(udpSize, false))
			})
		}
	}
	both.Wait()
	if all := slices.Concat(answers[0], answers[1]); len(all) > 0 {
		return all, nil
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return nil, none
}

func (p *Prober) addressesAt(ctx context.Context, server string, question *dns.Msg) (addrs []netip.Addr, err error) {
	var answer *dns.Msg
	for _, transport := range []string{"udp", "tcp"} {
		if answer, err = p.askAt(ctx, transport, server, question); err != nil || !answer.Truncated {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		return nil, &net.DNSError{Err: "server misbehaving", Name: question.Question[0].Name, Server: server}
	}
	for _, record := range answer.Answer {
		switch r := record.(type) {
		case *dns.A:
			if addr, ok := netip.AddrFromSlice(r.A); ok {
				addrs = append(addrs, addr.Unmap())
			}
		case *dns.AAAA:
			if addr, ok := netip.AddrFromSlice(r.AAAA); ok {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs, nil
}

func (p *Prober) askAt(ctx context.Context, transport, server string, question *dns.Msg) (*dns.Msg, error) {
	dialer := net.Dialer{Control: p.cfg.Network.Control}
	conn, err := dialer.DialContext(ctx, transport, server)
	if err == nil {
		socket := newSocket(ctx, conn)
		defer socket.end()
		var answer *dns.Msg
		if answer, err = converse(ctx, &dns.Conn{Conn: conn}, transport, question); err == nil {
			return answer, nil
		}
	}
	if _, own := ours(err); own || ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) { // the last try ends when the check does
		return nil, err
	}
	return nil, &net.DNSError{Err: err.Error(), Name: question.Question[0].Name, Server: server}
}

func isUDP(transport string) bool { return transport == "" || transport == "udp" }

func (l *look) connectDNS(ctx context.Context, transport string) (*dns.Conn, *socket, error) {
	network := "tcp"
	if isUDP(transport) {
		network = "udp"
	}
	socket, err := l.dialDNS(ctx, network)
	if err != nil {
		return nil, nil, err
	}
	if transport != "tls" {
		return &dns.Conn{Conn: socket.Conn}, socket, nil // the library looks at the type to tell packets from a stream
	}
	conn, err := l.secure(ctx, socket, l.target(l.job.Spec.Resolver))
	if err != nil {
		socket.end()
		return nil, nil, err
	}
	return &dns.Conn{Conn: conn}, socket, nil
}

// dialDNS connects to the spec's server, judged like any target, or to ours, which is nobody else's choice.
func (l *look) dialDNS(ctx context.Context, network string) (*socket, error) {
	spec := l.job.Spec
	if spec.Resolver != "" {
		port := spec.Port
		if port == 0 && spec.Transport == "tls" {
			port = 853
		} else if port == 0 {
			port = 53
		}
		return l.dial(ctx, network, spec.Resolver, strconv.Itoa(port))
	}
	server, err := l.p.nameserver()
	if err != nil {
		return nil, ownFault{noNameserver, err}
	}
	l.clock.enter(connecting)
	conn, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, ownFault{noNameserver, err}
	}
	return newSocket(ctx, conn), nil
}

func (p *Prober) nameserver() (string, error) {
	if p.cfg.Nameserver != "" {
		return p.cfg.Nameserver, nil
	}
	system, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return "", err
	}
	if len(system.Servers) == 0 {
		return "", errors.New("/etc/resolv.conf names no server")
	}
	return net.JoinHostPort(system.Servers[0], system.Port), nil
}

// data gives a record's data in its presentation form.
func data(record dns.RR) string {
	return strings.TrimSpace(strings.TrimPrefix(record.String(), record.Header().String()))
}

// shownAnswers hides what our own name server says of our own network.
func (l *look) shownAnswers() []string {
	shown := slices.Clone(l.saw.answers)
	if l.job.Spec.Resolver != "" {
		return shown
	}
	for i, answer := range shown {
		if addr, err := netip.ParseAddr(answer); err == nil && !l.p.permits(addr) {
			shown[i] = hidden
		}
	}
	return shown
}

func (l *look) checkAnswers(qtype uint16, answer *dns.Msg) error {
	spec := l.job.Spec
	expected := spec.RCode
	if expected == "" {
		expected = "NOERROR"
	}
	if got := rcodeName(answer.Rcode); got != expected {
		return &unmet{check.CauseStatus, fmt.Sprintf("The answer is %s.", got), expected, got}
	}
	got := strings.Join(l.shownAnswers(), ", ")
	if spec.RCode == "" && len(answer.Answer) == 0 {
		return &unmet{check.CauseBody, "The name has no such records.", "a record of type " + dns.TypeToString[qtype], ""}
	}
	for _, wanted := range spec.Answers {
		if !slices.ContainsFunc(l.saw.answers, func(one string) bool { return plain(one) == plain(wanted) }) {
			return &unmet{check.CauseBody, "A record that is expected is not there.", wanted, got}
		}
	}
	return nil
}

func rcodeName(rcode int) string {
	if name, ok := dns.RcodeToString[rcode]; ok {
		return name
	}
	return strconv.Itoa(rcode)
}

// plain drops what people leave out or write in another way: the dot at a name's end, capitals, and the quotes of texts.
func plain(record string) string {
	return strings.TrimSuffix(strings.ToLower(strings.ReplaceAll(record, `"`, "")), ".")
}
