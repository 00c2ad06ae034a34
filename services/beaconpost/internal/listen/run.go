package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"
)

// run listens, registers, and serves until ctx ends or the receiver is done. What it registered is deleted whatever happens.
func (s settings) run(ctx context.Context) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen on %s: another program uses this port (choose another with --listen)", s.address)
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer ln.Close()
	target := "http://" + dialable(ln.Addr())
	fmt.Fprintf(s.notes, "Listening on %s\n", target)
	if s.register {
		return s.serveRegistered(ctx, ln, target)
	}
	if len(s.options.Secrets) == 0 {
		fmt.Fprintln(s.notes, "Signatures are not verified: no --secret.")
	}
	receiver, err := NewReceiver(s.options, s.output)
	if err != nil {
		return err
	}
	return s.serve(ctx, ln, receiver, func() error { return nil })
}

// serveRegistered serves with the secret of a new endpoint. Connections wait in the listener's queue until that is known.
func (s settings) serveRegistered(ctx context.Context, ln net.Listener, target string) error {
	if s.publicURL != "" {
		target = s.publicURL
	}
	e, err := s.createEndpoint(ctx, target)
	if err != nil {
		return err
	}
	s.options.Secrets = append(slices.Clone(s.options.Secrets), e.Secret)
	receiver, err := NewReceiver(s.options, s.output)
	if err != nil {
		return errors.Join(err, s.deleteEndpoint(ctx, e))
	}
	return s.serve(ctx, ln, receiver, func() error {
		// Deleting cancels what is pending, also a delivery that was accepted a moment ago and not recorded yet.
		time.Sleep(time.Until(receiver.LastAccepted().Add(s.grace)))
		return s.deleteEndpoint(ctx, e)
	})
}

// serve serves until ctx ends or the receiver is done, then calls leave, still serving, so that no attempt fails on a closed port,
// and stops.
func (s settings) serve(ctx context.Context, ln net.Listener, receiver *Receiver, leave func() error) error {
	requests, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	server := &http.Server{
		Handler:           receiver,
		ReadHeaderTimeout: stopLimit, // no ReadTimeout: it would end the requests that are held
		BaseContext:       func(net.Listener) context.Context { return requests },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	select {
	case err := <-ended:
		return errors.Join(fmt.Errorf("serve: %w", err), leave())
	case <-ctx.Done():
	case <-receiver.Done():
	}
	err := leave()
	cancel(errStopping)
	return errors.Join(err, stop(ctx, server, ended))
}

func stop(ctx context.Context, server *http.Server, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	err := server.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("finish requests: %w", errors.Join(err, server.Close()))
	}
	if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve: %w", serveErr))
	}
	return err
}

// dialable turns "every address" into one that can be dialled.
func dialable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return addr.String()
}
