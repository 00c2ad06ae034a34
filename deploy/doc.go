// Package deploy holds the tests of what Beaconpost is deployed with: the image, the Helm chart, their documentation. It is a module of its own, outside of
// the workspace: Helm, BuildKit and Kubernetes' types are large, and nothing that runs should have its dependencies chosen by them.
package deploy

//go:generate go run ./internal/chartdoc
