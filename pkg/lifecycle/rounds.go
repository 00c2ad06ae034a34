package lifecycle

import (
	"context"
	"time"
)

// Rounds makes work of rounds, for Group.Every: one after another as long as one says that there is more, each within most. An error is told, unless the work
// is being stopped, and ends them until the next time.
func Rounds(trouble func(doing string, err error), doing string, most time.Duration, round func(context.Context) (more bool, err error)) func(context.Context) {
	return func(ctx context.Context) {
		for more := true; more && ctx.Err() == nil; {
			bounded, cancel := context.WithTimeout(ctx, most)
			var err error
			more, err = round(bounded)
			cancel()
			if err != nil {
				if ctx.Err() == nil {
					trouble(doing, err)
				}
				return
			}
		}
	}
}
