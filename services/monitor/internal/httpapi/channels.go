package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/beaconpost/beaconpost/pkg/auth"
	"github.com/beaconpost/beaconpost/pkg/httpapi"
	"github.com/beaconpost/beaconpost/pkg/uuid7"
	"github.com/beaconpost/beaconpost/services/monitor/internal/alert"
)

// ChannelSettings are what a caller says of a channel. It is exported so that the framework describes what embeds it.
type ChannelSettings struct {
	Name  string         `json:"name" doc:"1 to 200 characters." example:"On call"`
	Kind  string         `json:"kind" enum:"email" doc:"Signed webhooks need no channel: create an endpoint for monitor.* or incident.*."`
	Email *EmailSettings `json:"email" doc:"For kind email."`
}

// EmailSettings say whom a mail goes to.
type EmailSettings struct {
	To []string `json:"to" nullable:"false" doc:"1 to 20 addresses without names. All see each other." example:"[\"ops@example.com\"]"`
}

type channelView struct {
	ID uuid.UUID `json:"id" doc:"Of the channel."`
	ChannelSettings
	CreatedAt time.Time `json:"created_at" doc:"When it was made."`
}

func viewChannel(c alert.Channel) channelView {
	return channelView{c.ID, ChannelSettings{c.Name, c.Kind, &EmailSettings{c.Email.To}}, uuid7.Time(c.ID)}
}

type (
	channelOutput      struct{ Body channelView }
	createChannelInput struct{ Body ChannelSettings }
	putChannelInput    struct {
		IDPath
		Body ChannelSettings
	}
	listChannelsOutput struct {
		Body httpapi.List[channelView]
	}
)

func (h *Handlers) registerChannels(api *httpapi.API) {
	route := routes("alerts")
	httpapi.Register(api, route(post, "/v1/alert-channels", "create-alert-channel", "Create an alert channel", auth.ScopeMonitorsWrite, http.StatusCreated,
		"A way to tell people. It is used once an alert policy names it."), h.createChannel)
	httpapi.Register(api, route(get, "/v1/alert-channels", "list-alert-channels", "List alert channels, newest first", auth.ScopeMonitorsRead, 0, ""), h.listChannels)
	httpapi.Register(api, route(get, "/v1/alert-channels/{id}", "get-alert-channel", "Read an alert channel", auth.ScopeMonitorsRead, 0, ""), h.getChannel)
	httpapi.Register(api, route(put, "/v1/alert-channels/{id}", "replace-alert-channel", "Replace an alert channel", auth.ScopeMonitorsWrite, 0,
		"Messages that wait are sent to where it leads now."), h.replaceChannel)
	httpapi.Register(api, route(remove, "/v1/alert-channels/{id}", "delete-alert-channel", "Delete an alert channel", auth.ScopeMonitorsWrite, http.StatusNoContent,
		"Refused (409 alert_channel_in_use) as long as an alert policy names it."), h.deleteChannel)
	httpapi.Register(api, route(post, "/v1/alert-channels/{id}/test", "test-alert-channel", "Send a test message now", auth.ScopeMonitorsWrite, http.StatusNoContent,
		"Waits until the message is handed over, and says what went wrong if it is not."), h.testChannel)
}

func (s *ChannelSettings) channel(id uuid.UUID) (alert.Channel, error) {
	c := alert.Channel{ID: id, Name: s.Name, Kind: s.Kind}
	if s.Email != nil {
		c.Email.To = s.Email.To
	}
	return c, c.Check()
}

func (h *Handlers) createChannel(ctx context.Context, in *createChannelInput) (*channelOutput, error) {
	c, err := created(ctx, in.Body.channel, h.Store.CreateChannel)
	if err != nil {
		return nil, err
	}
	return &channelOutput{viewChannel(c)}, nil
}

func (h *Handlers) replaceChannel(ctx context.Context, in *putChannelInput) (*channelOutput, error) {
	c, err := stored(ctx, in.ID, in.Body.channel, h.Store.ReplaceChannel)
	if err != nil {
		return nil, err
	}
	return &channelOutput{viewChannel(c)}, nil
}

func (h *Handlers) listChannels(ctx context.Context, in *pageInput) (*listChannelsOutput, error) {
	list, err := listed(ctx, in.Page, h.Store.Channels, viewChannel, func(v channelView) uuid.UUID { return v.ID })
	if err != nil {
		return nil, err
	}
	return &listChannelsOutput{list}, nil
}

func (h *Handlers) getChannel(ctx context.Context, in *IDPath) (*channelOutput, error) {
	c, err := h.Store.Channel(ctx, httpapi.Tenant(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return &channelOutput{viewChannel(c)}, nil
}

func (h *Handlers) deleteChannel(ctx context.Context, in *IDPath) (*struct{}, error) {
	return nil, h.Store.DeleteChannel(ctx, httpapi.Tenant(ctx), in.ID)
}

func (h *Handlers) testChannel(ctx context.Context, in *IDPath) (*struct{}, error) {
	t := httpapi.Tenant(ctx)
	c, err := h.Store.Channel(ctx, t, in.ID)
	if err != nil {
		return nil, err
	}
	return nil, h.Tester.TestChannel(ctx, t, c)
}
