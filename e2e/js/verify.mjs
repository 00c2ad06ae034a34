// Verifies webhooks with the official JavaScript library: one JSON object per line on stdin
// ({"secret", "headers", "body": base64}), one line per object on stdout ("ok" or what is wrong).
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body } = JSON.parse(line);
  try {
    new Webhook(secret).verify(Buffer.from(body, "base64").toString("utf8"), headers);
    console.log("ok");
  } catch (error) {
    console.log(String(error.message || error));
  }
}
