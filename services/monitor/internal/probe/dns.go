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
	if l.job.Spec.Resolver == "" && errors.Is(err, syscall.ECONNREFUSED) {
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
	tries := 1
	if isUDP(transport) {
		tries = udpTries
	}
	client := dns.Client{Net: transport, Timeout: l.job.Timeout / time.Duration(tries)}
	var answer *dns.Msg
	for range tries {
		// The end of ctx closes the socket; its deadline on the socket would hide which of the two ended.
		answer, _, err = client.ExchangeWithConnContext(context.WithoutCancel(ctx), question, conn)
		if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	l.clock.enter(idle)
	return answer, nil
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
