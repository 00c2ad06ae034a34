package postgres

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/beaconpost/beaconpost/services/ingest/internal/endpoint"
)

func (g *group) readRoutes(rows pgx.Rows) error {
	for rows.Next() {
		var r endpoint.Route
		if err := rows.Scan(&r.ID, &r.ProjectID, &r.Filter, &r.Parked); err != nil {
			return err
		}
		g.routes.Endpoints = append(g.routes.Endpoints, r)
	}
	return rows.Err()
}

func (g *group) readProjects(rows pgx.Rows) error {
	for rows.Next() {
		var id uuid.UUID
		if err := rows.Scan(&id); err != nil {
			return err
		}
		g.routes.Projects[id] = true
	}
	return rows.Err()
}
