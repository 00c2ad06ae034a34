package health

// Take is what the keeper takes.
func (t *Tally) Take() map[Key]Facts { return t.take() }
