package ingest_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestRetryPolicies(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c := b.tenant("acme")
	_, other := b.tenant("other")
	var project struct{ ID string }
	c.Do("POST", "/v1/projects", `{"name":"shop"}`).Want(201, &project)
	inProject := b.endpoint(c, map[string]any{"project_id": project.ID})
	outside := b.endpoint(c, map[string]any{})
	version := func(id string) string {
		return b.Rows(`SELECT version::text FROM endpoints WHERE id = $1`, id)[0]
	}
	require.Equal(t, []string{"2", "2"}, []string{version(inProject.ID), version(outside.ID)}, "made, and given a secret")
	ofTenant, ofProject := "/v1/retry-policy", "/v1/projects/"+project.ID+"/retry-policy"
	for _, path := range []string{ofTenant, ofProject} {
		require.JSONEq(t, `{}`, string(c.Do("GET", path, nil).Want(200, nil).Body), "there is none")
	}
	require.JSONEq(t, `{"base":"2s","max_age":"24h0m0s"}`, string(c.Do("PUT", ofTenant, `{"base":"2s","max_age":"24h"}`).Want(200, nil).Body))
	require.Equal(t, []string{"3", "3"}, []string{version(inProject.ID), version(outside.ID)}, "delivery must read all of them again")
	c.Do("PUT", ofProject, `{"preset":"standard-webhooks"}`).Want(200, nil)
	require.Equal(t, []string{"4", "3"}, []string{version(inProject.ID), version(outside.ID)})
	require.Contains(t, string(c.Do("GET", ofProject, nil).Want(200, nil).Body), `"preset":"standard-webhooks"`)
	require.JSONEq(t, `{"max_attempts":3}`, string(c.Do("PUT", ofProject, `{"max_attempts":3}`).Want(200, nil).Body), "the whole policy is replaced")
	require.JSONEq(t, `{}`, string(other.Do("GET", ofTenant, nil).Want(200, nil).Body), "another tenant's is another")

	for _, tt := range []struct{ body, code, field string }{
		{`{}`, "invalid_retry_policy", ""},
		{`{"preset":"linear"}`, "invalid_request", "preset"},
		{`{"preset":"exponential","cap":"1s"}`, "invalid_retry_policy", "preset"},
		{`{"schedule":["1s","800h"]}`, "invalid_retry_policy", "schedule.1"},
		{`{"max_age":"3000h"}`, "invalid_retry_policy", "max_age"},
		{`{"base":"1h","cap":"1m"}`, "invalid_retry_policy", "cap"},
	} {
		c.Do("PUT", ofTenant, tt.body).WantProblem(422, tt.code, tt.field)
	}
	for _, path := range []string{"/v1/projects/" + uuid.NewString() + "/retry-policy", ofProject} {
		other.Do("GET", path, nil).WantProblem(404, "project_not_found", "")
		other.Do("PUT", path, `{"max_attempts":1}`).WantProblem(404, "project_not_found", "")
		other.Do("DELETE", path, nil).WantProblem(404, "project_not_found", "")
	}
	require.JSONEq(t, `{"max_attempts":3}`, string(c.Do("GET", ofProject, nil).Want(200, nil).Body), "nobody else touched it")
	c.Do("DELETE", ofProject, nil).Want(204, nil)
	c.Do("DELETE", ofProject, nil).Want(204, nil)
	require.JSONEq(t, `{}`, string(c.Do("GET", ofProject, nil).Want(200, nil).Body))
	require.JSONEq(t, `{"base":"2s","max_age":"24h0m0s"}`, string(c.Do("GET", ofTenant, nil).Want(200, nil).Body))
}
