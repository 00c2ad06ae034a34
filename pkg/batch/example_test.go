package batch_test

import (
	"context"
	"fmt"

	"github.com/beaconpost/beaconpost/pkg/batch"
)

// A caller that needs to know the fate of its item puts the way to answer into it.
func Example() {
	type insert struct {
		row      string
		answered chan error
	}
	commit := func(_ context.Context, rows []insert) {
		// One transaction for all of rows, then:
		for _, r := range rows {
			r.answered <- nil
		}
	}
	b := batch.New(batch.Config{MaxItems: 500, Parallel: 2}, commit)

	item := insert{row: "order.paid", answered: make(chan error, 1)}
	if err := b.Put(context.Background(), item); err != nil {
		fmt.Println("not accepted:", err)
		return
	}
	fmt.Println("committed:", <-item.answered == nil)
	fmt.Println("closed:", b.Close(context.Background()) == nil)
	// Output:
	// committed: true
	// closed: true
}
