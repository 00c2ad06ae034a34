// Package signature signs webhooks as Standard Webhooks prescribes (https://www.standardwebhooks.com), symmetric scheme v1.
//
// It owns the secret's text form, its making and the signature. It does not own storing secrets (pkg/secretbox encrypts
// them), their rotation, or verifying, which receivers do with the official libraries.
package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"
)

// The request headers of a signed webhook, in Go's canonical form.
const (
	HeaderID        = "Webhook-Id"        // the event's id, the same on every attempt
	HeaderTimestamp = "Webhook-Timestamp" // when the attempt was made, unix seconds
	HeaderSignature = "Webhook-Signature" // what Sign returns
)

const version = "v1,"

// Sign gives the value of the webhook-signature header: one signature per secret, in the order of secrets, separated by
// spaces, so that a receiver accepts the webhook as long as it knows one of them. id and body must be exactly what is
// sent, and ts, in whole seconds, what Timestamp gives. It gives "" without secrets. It neither keeps nor copies body.
func Sign(secrets []Secret, id string, ts time.Time, body []byte) string {
	signed := make([]byte, 0, 96)
	signed = append(signed, id...)
	signed = append(signed, '.')
	signed = strconv.AppendInt(signed, ts.Unix(), 10)
	signed = append(signed, '.')

	out := make([]byte, 0, len(secrets)*(len(version)+base64.StdEncoding.EncodedLen(sha256.Size)+1))
	var sum [sha256.Size]byte
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, secret.bytes())
		mac.Write(signed)
		mac.Write(body)
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, version...)
		out = base64.StdEncoding.AppendEncode(out, mac.Sum(sum[:0]))
	}
	return string(out)
}

// Timestamp gives the value of the webhook-timestamp header for ts.
func Timestamp(ts time.Time) string { return strconv.FormatInt(ts.Unix(), 10) }
