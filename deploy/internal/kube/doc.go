// Package kube runs Kubernetes without containers. Etcd, the API server, its controllers and the scheduler are the real programs; nodes are ours: they run the
// containers of pods as processes of this machine, with the environment, files, probes, restarts and stops that the pods' specs ask for.
//
// It knows nothing of Beaconpost, and of Kubernetes only what pods without storage and networks of their own need: no limits of memory and CPU, no network
// policies, no proxies for Services.
package kube
