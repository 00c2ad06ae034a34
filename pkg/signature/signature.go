// Package signature signs webhooks as Standard Webhooks prescribes (https://www.standardwebhooks.com), schemes v1 (HMAC-SHA256) and v1a
// (ed25519).
//
// It owns the secret's text form, its making and the signature. It does not own storing secrets (pkg/secretbox encrypts
// them), their rotation, or verifying, which receivers do with the official libraries.
package signature

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"time"
)

// The request headers of a signed webhook, in Go's canonical form.
const (
	HeaderID        = "Webhook-Id"        // the event's id, the same on every attempt
	HeaderTimestamp = "Webhook-Timestamp" // when the attempt was made, unix seconds
	HeaderSignature = "Webhook-Signature" // what Sign returns
)

// The same for receivers that verify as those of Svix do.
const (
	SvixID        = "Svix-Id"
	SvixTimestamp = "Svix-Timestamp"
	SvixSignature = "Svix-Signature"
)

const (
	versionShared  = "v1,"
	versionPrivate = "v1a,"
)

// Sign gives the value of the webhook-signature header: one signature per secret, in the order of secrets, separated by
// spaces, so that a receiver accepts the webhook as long as it knows one of them, or its public key. id and body must be exactly what is
// sent, and ts, in whole seconds, what Timestamp gives. It gives "" without secrets. It does not keep body.
func Sign(secrets []Secret, id string, ts time.Time, body []byte) string {
	signed := make([]byte, 0, 96)
	signed = append(signed, id...)
	signed = append(signed, '.')
	signed = strconv.AppendInt(signed, ts.Unix(), 10)
	signed = append(signed, '.')

	out := make([]byte, 0, len(secrets)*(len(versionShared)+base64.StdEncoding.EncodedLen(sha256.Size)+1))
	var sum [sha256.Size]byte
	var message []byte // in one piece, which ed25519 asks for
	for i, secret := range secrets {
		if i > 0 {
			out = append(out, ' ')
		}
		if secret.private {
			if message == nil {
				message = slices.Concat(signed, body)
			}
			out = append(out, versionPrivate...)
			out = base64.StdEncoding.AppendEncode(out, ed25519.Sign(secret.bytes(), message))
			continue
		}
		mac := hmac.New(sha256.New, secret.bytes())
		mac.Write(signed)
		mac.Write(body)
		out = append(out, versionShared...)
		out = base64.StdEncoding.AppendEncode(out, mac.Sum(sum[:0]))
	}
	return string(out)
}

// Timestamp gives the value of the webhook-timestamp header for ts.
func Timestamp(ts time.Time) string { return strconv.FormatInt(ts.Unix(), 10) }
