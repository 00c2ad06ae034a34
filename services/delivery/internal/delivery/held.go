package delivery

// held is a ticket that comes from the database instead of the broker.
type held struct {
	request Request
	ended   func()
}

var _ Ticket = (*held)(nil)

// Held makes a ticket for a request whose claim was made already: there is no message for it at the broker. If it is not attempted it stays due, and is
// found as any other that is overdue. ended, which may be nil, is called when it is over.
func Held(r Request, ended func()) Ticket {
	if ended == nil {
		ended = func() {}
	}
	return &held{r, ended}
}

// Request implements Ticket.
func (h *held) Request() Request { return h.request }

// Redelivered implements Ticket.
func (h *held) Redelivered() bool { return false }

// InProgress implements Ticket.
func (h *held) InProgress() {}

// Done implements Ticket.
func (h *held) Done() { h.ended() }

// Release implements Ticket.
func (h *held) Release() { h.ended() }
