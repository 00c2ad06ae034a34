package deploy_test

import (
	"strings"
	"testing"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
	"github.com/beaconpost/beaconpost/proto/subject"
)

// Whoever scales a Deployment is the only one who says how many pods it has, or each upgrade would undo it.
func TestReplicasAreSaidOnce(t *testing.T) {
	each(t, func(t *testing.T, r *chart.Rendered) {
		t.Helper()
		scaled := map[string]int{}
		for _, h := range chart.All[autoscaling.HorizontalPodAutoscaler](r) {
			scaled[h.Spec.ScaleTargetRef.Name]++
			require.Equal(t, "Deployment", h.Spec.ScaleTargetRef.Kind)
			require.LessOrEqual(t, *h.Spec.MinReplicas, h.Spec.MaxReplicas)
		}
		for _, s := range chart.All[keda.ScaledObject](r) {
			scaled[s.Spec.ScaleTargetRef.Name]++
			require.NoError(t, keda.CheckReplicaCountBoundsAreValid(s))
			require.NoError(t, keda.CheckFallbackValid(s))
			require.NoError(t, keda.ValidateTriggers(s.Spec.Triggers))
			require.GreaterOrEqual(t, *s.Spec.MinReplicaCount, int32(1), "partitions and retries need somebody, with nothing to deliver too")
		}
		for _, d := range chart.All[apps.Deployment](r) {
			require.LessOrEqual(t, scaled[d.Name], 1, d.Name)
			require.Equal(t, scaled[d.Name] == 0, d.Spec.Replicas != nil, d.Name)
			delete(scaled, d.Name)
		}
		require.Empty(t, scaled, "what is scaled is there")
	})
}

func TestScalingByCPU(t *testing.T) {
	t.Parallel()
	r := with(t, `{ingest: {autoscaling: {enabled: true, minReplicas: 3, maxReplicas: 7, targetCPU: 60}}, delivery: {autoscaling: {enabled: true}}}`)
	h := chart.Find[autoscaling.HorizontalPodAutoscaler](r, prefix+"-ingest")
	require.EqualValues(t, []int32{3, 7, 60}, []int32{*h.Spec.MinReplicas, h.Spec.MaxReplicas, *h.Spec.Metrics[0].Resource.Target.AverageUtilization})
	require.NotNil(t, chart.Find[autoscaling.HorizontalPodAutoscaler](r, prefix+"-delivery"), "without KEDA delivery is scaled by CPU")
}

// KEDA looks at every shard's consumer by the name that it has at the broker.
func TestScalingByLag(t *testing.T) {
	t.Parallel()
	s := chart.All[keda.ScaledObject](render(t, switched(t, "delivery by KEDA, NATS")))[0]
	require.Equal(t, "cpu", s.Spec.Triggers[0].Type)
	require.Len(t, s.Spec.Triggers, 1+subject.Shards)
	for shard, trigger := range s.Spec.Triggers[1:] {
		require.Equal(t, "nats-jetstream", trigger.Type)
		require.Equal(t, subject.StreamDeliveries, trigger.Metadata["stream"])
		require.Equal(t, subject.Durable(shard), trigger.Metadata["consumer"])
		require.Equal(t, "nats:8222", trigger.Metadata["natsServerMonitoringEndpoint"])
		require.Equal(t, "500", trigger.Metadata["lagThreshold"])
	}
	require.EqualValues(t, 3, s.Spec.Fallback.Replicas)

	own := chart.All[keda.ScaledObject](render(t, switched(t, "KEDA, own NATS")))[0]
	require.Equal(t, "shop-nats-headless.webhooks.svc:8222", own.Spec.Triggers[1].Metadata["natsServerMonitoringEndpoint"])

	p := chart.All[keda.ScaledObject](render(t, switched(t, "delivery by KEDA")))[0]
	require.Len(t, p.Spec.Triggers, 2)
	query := p.Spec.Triggers[1].Metadata["query"]
	require.Contains(t, query, `beaconpost_consumer_pending{namespace="webhooks",consumer=~"delivery-[0-9]+"}`)
	require.True(t, strings.HasPrefix(subject.Durable(subject.Shards-1), "delivery-"))
	require.Equal(t, "http://prometheus:9090", p.Spec.Triggers[1].Metadata["serverAddress"])
}
