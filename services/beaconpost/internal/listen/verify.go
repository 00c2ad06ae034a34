package listen

import (
	"errors"
	"fmt"
	"net/http"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/beaconpost/beaconpost/pkg/signature"
)

// verifier checks signatures with the official library, as a receiver in production would.
type verifier []*standardwebhooks.Webhook

func newVerifier(secrets []string) (verifier, error) {
	var v verifier
	for _, secret := range secrets {
		// The library takes any text, even an empty key.
		if _, err := signature.ParseSecret(secret); err != nil {
			return nil, fmt.Errorf("--secret: %w", err)
		}
		w, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, fmt.Errorf("--secret: %w", err)
		}
		v = append(v, w)
	}
	return v, nil
}

// verify says why a webhook is not to be trusted; nil if one of the secrets signed it.
func (v verifier) verify(h http.Header, body []byte) error {
	var err error
	for _, w := range v {
		if err = w.Verify(body, h); err == nil {
			return nil
		}
	}
	return v.explain(err)
}

func (v verifier) explain(err error) error {
	switch {
	case errors.Is(err, standardwebhooks.ErrRequiredHeaders):
		return errors.New("not signed: webhook-id, webhook-timestamp or webhook-signature is missing")
	case errors.Is(err, standardwebhooks.ErrInvalidHeaders):
		return errors.New("webhook-timestamp is not a number of seconds")
	case errors.Is(err, standardwebhooks.ErrMessageTooOld):
		return errors.New("webhook-timestamp is more than 5 minutes old")
	case errors.Is(err, standardwebhooks.ErrMessageTooNew):
		return errors.New("webhook-timestamp is more than 5 minutes in the future")
	case errors.Is(err, standardwebhooks.ErrNoMatchingSignature) && len(v) == 1:
		return errors.New("wrong signature: another secret signed it, or the body was changed")
	case errors.Is(err, standardwebhooks.ErrNoMatchingSignature):
		return fmt.Errorf("wrong signature: none of the %d secrets signed it, or the body was changed", len(v))
	}
	return err
}
