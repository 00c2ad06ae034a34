package chart

import (
	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

// typeOf gives a new object of the API's type.
func typeOf(t metav1.TypeMeta) (any, bool) {
	create, ok := map[string]func() any{
		"v1/ConfigMap":                            func() any { return new(core.ConfigMap) },
		"v1/Namespace":                            func() any { return new(core.Namespace) },
		"v1/Secret":                               func() any { return new(core.Secret) },
		"v1/Service":                              func() any { return new(core.Service) },
		"v1/ServiceAccount":                       func() any { return new(core.ServiceAccount) },
		"apps/v1/Deployment":                      func() any { return new(apps.Deployment) },
		"apps/v1/StatefulSet":                     func() any { return new(apps.StatefulSet) },
		"batch/v1/Job":                            func() any { return new(batch.Job) },
		"autoscaling/v2/HorizontalPodAutoscaler":  func() any { return new(autoscaling.HorizontalPodAutoscaler) },
		"policy/v1/PodDisruptionBudget":           func() any { return new(policy.PodDisruptionBudget) },
		"networking.k8s.io/v1/NetworkPolicy":      func() any { return new(networking.NetworkPolicy) },
		"networking.k8s.io/v1/Ingress":            func() any { return new(networking.Ingress) },
		"gateway.networking.k8s.io/v1/HTTPRoute":  func() any { return new(gateway.HTTPRoute) },
		"monitoring.coreos.com/v1/PodMonitor":     func() any { return new(monitoring.PodMonitor) },
		"monitoring.coreos.com/v1/PrometheusRule": func() any { return new(monitoring.PrometheusRule) },
		"keda.sh/v1alpha1/ScaledObject":           func() any { return new(keda.ScaledObject) },
		"external-secrets.io/v1/ExternalSecret":   func() any { return new(ExternalSecret) },
		"postgresql.cnpg.io/v1/Cluster":           func() any { return new(Cluster) },
	}[t.APIVersion+"/"+t.Kind]
	if !ok {
		return nil, false
	}
	return create(), true
}

// ExternalSecret is what the chart uses of external-secrets.io/v1. Its Go module has the whole operator's dependencies; what is written here is from its CRD.
type ExternalSecret struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		RefreshInterval string `json:"refreshInterval"`
		SecretStoreRef  struct {
			Name string `json:"name"`
			Kind string `json:"kind"`
		} `json:"secretStoreRef"`
		Target struct {
			Name           string `json:"name"`
			CreationPolicy string `json:"creationPolicy"` // Owner, Orphan, Merge, None
			DeletionPolicy string `json:"deletionPolicy"` // Delete, Merge, Retain
		} `json:"target"`
		Data []struct {
			SecretKey string `json:"secretKey"`
			RemoteRef struct {
				Key      string `json:"key"`
				Property string `json:"property"`
			} `json:"remoteRef"`
		} `json:"data"`
	} `json:"spec"`
}

// Cluster is what the chart uses of postgresql.cnpg.io/v1. CloudNativePG has no Go module of its API that can be had from the proxy; what is written here is
// from its CRD.
type Cluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Instances int    `json:"instances"`
		ImageName string `json:"imageName,omitempty"`
		Storage   struct {
			Size         string `json:"size"`
			StorageClass string `json:"storageClass,omitempty"`
		} `json:"storage"`
		Resources  core.ResourceRequirements `json:"resources"`
		PostgreSQL struct {
			Parameters map[string]string `json:"parameters"`
		} `json:"postgresql"`
		Bootstrap struct {
			InitDB struct {
				Database               string   `json:"database"`
				Owner                  string   `json:"owner"`
				PostInitApplicationSQL []string `json:"postInitApplicationSQL"`
			} `json:"initdb"`
		} `json:"bootstrap"`
		Backup *struct {
			RetentionPolicy string `json:"retentionPolicy,omitempty"`
		} `json:"backup,omitempty"`
	} `json:"spec"`
}
