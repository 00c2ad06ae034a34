package kube

import (
	"context"
	"encoding/json"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// status is how a pod is.
type status struct {
	health
	phase    core.PodPhase
	started  metav1.Time
	restarts int32
	waiting  *core.ContainerStateWaiting
	running  *core.ContainerStateRunning
	ended    *core.ContainerStateTerminated // the last time

	changed metav1.Time // when ready was last another
	said    bool        // ready, as it was reported
}

// health is what probes say.
type health struct{ up, ready bool }

// exited takes down how the process ended.
func (s *status) exited(code int) {
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	s.ended = &core.ContainerStateTerminated{ExitCode: int32(max(code, -1)), Reason: reason, StartedAt: s.running.StartedAt, FinishedAt: metav1.Now()} //nolint:gosec // a byte, or -1 after a signal
	s.running, s.health = nil, health{}
}

// report tells the API. What cannot be told now is told by the next report: there is none only when the pod is gone.
func (p *pod) report(ctx context.Context) {
	s := &p.status
	if s.changed.IsZero() || s.said != s.ready {
		s.changed, s.said = metav1.Now(), s.ready
	}
	container := core.ContainerStatus{
		Name: p.container().Name, Image: p.container().Image, ImageID: p.container().Image, RestartCount: s.restarts, Ready: s.ready, Started: &s.up,
		State: core.ContainerState{Waiting: s.waiting, Running: s.running},
	}
	if s.ended != nil && s.running == nil && s.waiting == nil {
		container.State.Terminated = s.ended
	} else {
		container.LastTerminationState.Terminated = s.ended
	}
	ready := core.ConditionFalse
	if s.ready {
		ready = core.ConditionTrue
	}
	patch, err := json.Marshal(map[string]any{"status": core.PodStatus{
		Phase: s.phase, PodIP: p.ip, PodIPs: []core.PodIP{{IP: p.ip}}, HostIP: "10.0.0.1", HostIPs: []core.HostIP{{IP: "10.0.0.1"}}, StartTime: &s.started,
		ContainerStatuses: []core.ContainerStatus{container},
		Conditions: []core.PodCondition{
			{Type: core.PodInitialized, Status: core.ConditionTrue, LastTransitionTime: s.started},
			{Type: core.ContainersReady, Status: ready, LastTransitionTime: s.changed},
			{Type: core.PodReady, Status: ready, LastTransitionTime: s.changed},
		},
	}})
	if err != nil {
		return // of these types all can be marshalled
	}
	_, _ = p.nodes.client.CoreV1().Pods(p.object.Namespace).Patch(ctx, p.object.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
}
