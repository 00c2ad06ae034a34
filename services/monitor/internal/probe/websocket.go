package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/beaconpost/beaconpost/services/monitor/internal/check"
)

// roundTrip makes a RoundTripper of a function.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// websocket makes the handshake, and talks if there is something to say or to hear.
func (l *look) websocket(ctx context.Context) error {
	r, err := l.firstRequest(ctx)
	if err != nil {
		return err
	}
	r.url.Scheme = strings.Replace(r.url.Scheme, "ws", "http", 1)
	err = l.meet(ctx, r)
	if again, failed := l.reauthorized(ctx, r); again != nil || failed != nil {
		if failed != nil {
			return failed
		}
		return l.meet(ctx, again)
	}
	return err
}

// meet makes a connection and the handshake on it, and talks.
func (l *look) meet(ctx context.Context, r *request) error {
	l.saw.hops = append(l.saw.hops, check.Hop{URL: cut(l.job.Spec.URL)})
	hop := &l.saw.hops[len(l.saw.hops)-1]
	client, err := l.client(ctx, r)
	hop.IP = l.saw.ip
	if err != nil {
		return err
	}
	defer client.end()
	conn, err := l.upgrade(ctx, r, client)
	hop.Status = l.saw.status
	if err != nil {
		return err
	}
	defer conn.CloseNow() //nolint:errcheck // nothing is left to say
	return l.converse(ctx, conn)
}

func (l *look) upgrade(ctx context.Context, r *request, client *webClient) (*websocket.Conn, error) {
	ask := func(asked *http.Request) (*http.Response, error) {
		watched := l.request(ctx, r)
		return client.RoundTrip(asked.WithContext(watched.Context()))
	}
	conn, answer, err := websocket.Dial( //nolint:bodyclose // the library closes it
		ctx, r.url.String(), &websocket.DialOptions{
			HTTPHeader: r.header, Host: r.host, CompressionMode: websocket.CompressionDisabled,
			HTTPClient: &http.Client{
				Transport:     roundTrip(ask),
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
		})
	if answer != nil {
		l.saw.status, l.saw.header = answer.StatusCode, answer.Header
	}
	if err != nil && answer != nil {
		return nil, l.notUpgraded(answer)
	}
	return conn, err
}

func (l *look) notUpgraded(answer *http.Response) error {
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return &unmet{check.CauseProtocol, "The answer to the handshake is not one of WebSocket.", "", ""}
	}
	l.saw.body, _ = io.ReadAll(io.LimitReader(answer.Body, check.EvidenceBody)) // the library has read the first kilobyte and closed it
	return &unmet{check.CauseStatus, fmt.Sprintf("The status is %d.", answer.StatusCode), "status 101", fmt.Sprint(answer.StatusCode)}
}

// converse sends what is to be sent and takes messages until one is as expected.
func (l *look) converse(ctx context.Context, conn *websocket.Conn) error {
	conn.SetReadLimit(maxHeard)
	if l.job.Spec.Send != "" {
		l.clock.enter(sending)
		if err := conn.Write(ctx, websocket.MessageText, []byte(l.job.Spec.Send)); err != nil {
			return err
		}
	}
	if l.plan.expect == nil {
		return nil
	}
	l.clock.enter(processing)
	for heard := 0; heard < maxHeard; heard += len(l.saw.body) + 1 {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return l.ended(err)
		}
		l.clock.pass(processing, transferring)
		l.saw.body = message
		if matches(ctx, l.plan.expect, string(message)) {
			return nil
		}
	}
	return l.ended(nil)
}

// ended says why no message was as expected.
func (l *look) ended(err error) error {
	said := websocket.CloseStatus(err) != -1
	if err != nil && !said && !errors.Is(err, websocket.ErrMessageTooBig) {
		return err
	}
	return &unmet{check.CauseBody, "No message is as expected.", "matching " + l.job.Spec.Expect, cut(string(l.saw.body[:min(len(l.saw.body), keptValue)]))}
}
