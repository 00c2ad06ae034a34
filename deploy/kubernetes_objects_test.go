//go:build kubernetes

package deploy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/beaconpost/beaconpost/deploy/internal/chart"
)

// testObjects asks the API server about everything that every example and every switch makes, at an install and an upgrade: would it be taken, with no field unknown
// and every value valid, and would the pods get into a namespace that only takes restricted ones?
func (k *kubernetes) testObjects(t *testing.T) {
	k.namespace(t, "objects")
	objects, templates := 0, 0
	for name, values := range cases(t) {
		for _, upgrade := range []bool{false, true} {
			r, err := chart.Render(t.Context(), chartDir, values, chart.Options{Upgrade: upgrade})
			require.NoError(t, err)
			for _, o := range r.Objects {
				require.NoError(t, k.apply(t, "objects", o.Text, true), "%s: %s %s", name, o.Kind, o.Name)
				objects++
			}
			for of, template := range pods(r) {
				require.NoError(t, k.admit(t, template), "%s: %s", name, of)
				templates++
			}
		}
	}
	t.Logf("%d objects and %d pods were accepted", objects, templates)

	// That it was asked in earnest.
	r := with(t, "")
	for _, o := range r.Objects {
		if o.Kind == "Deployment" {
			require.ErrorContains(t, k.apply(t, "objects", strings.Replace(o.Text, "maxSurge", "maxSurges", 1), true), "maxSurges")
			require.ErrorContains(t, k.apply(t, "objects", strings.Replace(o.Text, "maxSurge: 1", "maxSurge: 0", 1), true), "may not be 0 when")
		}
	}
	for _, template := range pods(r) {
		require.False(t, *template.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation)
		*template.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = true
		require.ErrorContains(t, k.admit(t, template), `violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false`)
	}
	require.NoError(t, k.Client.CoreV1().Namespaces().Delete(t.Context(), "objects", metav1.DeleteOptions{}))
}

// admit asks whether a pod of a template would be let in. Its account is made by the release; here the namespace's own stands for it.
func (k *kubernetes) admit(t *testing.T, template core.PodTemplateSpec) error {
	t.Helper()
	pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-", Labels: template.Labels, Annotations: template.Annotations}, Spec: template.Spec}
	pod.Spec.ServiceAccountName = ""
	if pod.Spec.RestartPolicy == "" {
		pod.Spec.RestartPolicy = core.RestartPolicyAlways
	}
	_, err := k.Client.CoreV1().Pods("objects").Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}
