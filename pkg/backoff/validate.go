package backoff

import (
	"fmt"
	"time"
)

// FieldError is a rule that a policy breaks. Field is the snake_case name of the Policy field, with the index for an entry
// of the schedule ("schedule.2").
type FieldError struct {
	Field   string
	Problem string
}

// Error gives field and problem.
func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Validate gives the first rule that p breaks, as a *FieldError, or nil. Zero fields are valid.
func (p Policy) Validate() error {
	if p.Jitter != NoJitter && !(p.Jitter >= 0 && p.Jitter <= 1) { // also catches NaN
		return &FieldError{"jitter", "must be between 0 and 1"}
	}
	if p.MaxAge < 0 || p.MaxAge > MaxAge {
		return &FieldError{"max_age", fmt.Sprintf("must be between 0s and %s", MaxAge)}
	}
	if len(p.Schedule) > 0 {
		return p.validateSchedule()
	}
	return p.validateExponential()
}

func (p Policy) validateSchedule() error {
	if p.Base != 0 || p.Cap != 0 {
		return &FieldError{"schedule", "cannot be combined with base or cap"}
	}
	if len(p.Schedule) >= MaxAttempts {
		return &FieldError{"schedule", fmt.Sprintf("must have at most %d entries", MaxAttempts-1)}
	}
	if p.MaxAttempts != 0 && p.MaxAttempts != len(p.Schedule)+1 {
		return &FieldError{"max_attempts", fmt.Sprintf("must be left out or %d, one more than the schedule has entries", len(p.Schedule)+1)}
	}
	for i, d := range p.Schedule {
		if err := checkDelay(fmt.Sprintf("schedule.%d", i), d); err != nil {
			return err
		}
	}
	return nil
}

func (p Policy) validateExponential() error {
	if err := checkDelay("base", p.Base); err != nil {
		return err
	}
	if err := checkDelay("cap", p.Cap); err != nil {
		return err
	}
	if full := p.WithDefaults(); full.Cap < full.Base {
		return &FieldError{"cap", fmt.Sprintf("must be at least base (%s)", full.Base)}
	}
	if p.MaxAttempts < 0 || p.MaxAttempts > MaxAttempts {
		return &FieldError{"max_attempts", fmt.Sprintf("must be between 1 and %d", MaxAttempts)}
	}
	return nil
}

func checkDelay(field string, d time.Duration) error {
	if d < 0 || d > MaxDelay {
		return &FieldError{field, fmt.Sprintf("must be between 0s and %s", MaxDelay)}
	}
	return nil
}
