// Package cluster runs Beaconpost as the Helm chart does on three machines, without Kubernetes, and breaks it: three nats-servers with streams of three copies, two
// replicas of ingest, three of delivery, two of monitor, under a steady load. Machines are network namespaces of the kernel on a bridge, so that one can be cut off.
//
//	producers ─▶ service (as kube-proxy: connections go to what is ready) ─▶ ingest ×2 ─▶ Postgres, NATS ×3 ─▶ delivery ×3 ─▶ sinks, which verify and count
//
// What has to be true of each phase, whatever it breaks:
//
//	every event that was answered 202 arrives, once what was broken is whole again
//	a request that fails is accepted when the producer repeats it; nobody gives up
//	an endpoint answers 200 once to each event, unless the phase says why it may be more
//	a monitor's target that is well has no incident
//
// and what is measured: how many requests failed at first, how long requests and deliveries took, which slots of monitors were missed.
package cluster
