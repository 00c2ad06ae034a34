package delivery_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/beaconpost/beaconpost/services/delivery/internal/delivery"
)

// bubble runs a test with fake time.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

func fails(_ context.Context, job *delivery.Job) *delivery.Attempt {
	return &delivery.Attempt{Number: job.Attempt, StatusCode: 500}
}

func TestATicketEndsAfterItsResultIsRecorded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 8, nil)
		k := w.ticket()
		k.redelivered = true
		w.submit(t, k)
		synctest.Wait()
		require.Equal(t, []string{"admit", "send", "attempted", "record", "settled", "done"}, w.noted())
		require.Equal(t, []delivery.Incoming{{Request: k.request, Redelivered: true}}, w.admitted[0])
		require.Len(t, w.recorded, 1)
		require.Equal(t, delivery.Outcome{Status: delivery.Delivered}, w.recorded[0].Outcome)
		require.Equal(t, k.request.Ref, w.recorded[0].Job.Ref)
		require.Zero(t, w.engine.InFlight())
		w.stop(t)
		require.Empty(t, w.schedules)
	})
}

func TestARetryIsScheduledAfterTheRecordAndBeforeTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 8, func(w *world) { w.send = fails })
		k := w.ticket()
		w.submit(t, k)
		synctest.Wait()
		require.Equal(t, []string{"admit", "send", "attempted", "record", "settled", "schedule", "done"}, w.noted())
		due := w.start.Add(time.Minute).UTC().Truncate(time.Microsecond)
		require.Equal(t, delivery.Outcome{Status: delivery.Pending, Next: due}, w.recorded[0].Outcome)
		require.Equal(t, []delivery.Request{{Ref: k.request.Ref, Attempt: 2, Due: due, Traceparent: "trace"}}, w.schedules, "what the row says")
		w.stop(t)
	})
}

func TestTheLastFailureSchedulesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 8, func(w *world) { w.send = fails })
		last := w.ticket().again(3)
		w.submit(t, last)
		synctest.Wait()
		require.Equal(t, delivery.Exhausted, w.recorded[0].Outcome.Status)
		require.Equal(t, "done", last.state())
		require.Empty(t, w.schedules)
		w.stop(t)
	})
}

// Somebody cancelled it meanwhile: the attempt is on record, and nothing follows.
func TestADeliveryThatDidNotChangeIsNotRetried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 8, func(w *world) { w.send, w.changed = fails, false })
		k := w.ticket()
		w.submit(t, k)
		synctest.Wait()
		require.Len(t, w.recorded, 1)
		require.Equal(t, "done", k.state())
		require.Empty(t, w.schedules)
		require.NotContains(t, w.noted(), "settled")
		w.stop(t)
	})
}

// A retry that is due at once may come back before the first ticket has ended.
func TestTheNextAttemptMayComeAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var w *world
		k, next := &ticket{}, &ticket{}
		w = newWorld(t, 8, func(w *world) {
			*k = ticket{world: w, request: w.ticket().request}
			*next = ticket{world: w, request: k.again(2).request}
			w.send = func(ctx context.Context, job *delivery.Job) *delivery.Attempt {
				if job.Attempt == 1 {
					return fails(ctx, job)
				}
				return &delivery.Attempt{Number: job.Attempt, StatusCode: 204}
			}
			w.schedule = func(delivery.Request) {
				w.engine.Submit(context.Background(), []delivery.Ticket{next})
				time.Sleep(time.Millisecond) // fake: a dispatcher has it before the first ticket ends
			}
		})
		w.submit(t, k)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, "done", k.state())
		require.Equal(t, "done", next.state())
		require.Zero(t, w.discarded)
		require.Len(t, w.recorded, 2)
		w.stop(t)
	})
}

func TestStaleMessagesEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 8, func(w *world) { w.stale = func(in delivery.Incoming) bool { return in.Attempt == 2 } })
		stale, good := w.ticket().again(2), w.ticket()
		w.submit(t, stale, good)
		synctest.Wait()
		require.Equal(t, "done", stale.state())
		require.Equal(t, "done", good.state())
		require.Equal(t, 1, w.discarded)
		require.Len(t, w.times("send"), 1)
		w.stop(t)
	})
}

func TestASecondMessageForTheSameAttemptEndsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		w := newWorld(t, 4, func(w *world) {
			w.send = func(_ context.Context, job *delivery.Job) *delivery.Attempt {
				<-release
				return &delivery.Attempt{Number: job.Attempt, StatusCode: 200}
			}
		})
		k := w.ticket()
		w.submit(t, k)
		synctest.Wait()
		copies := []*ticket{k.again(1), k.again(1), k.again(1), k.again(1), k.again(1)} // more than there are slots
		w.submit(t, copies...)
		synctest.Wait()
		require.Equal(t, map[string]int{"done": 5}, states(copies))
		require.Equal(t, 5, w.discarded)
		require.Equal(t, "held", k.state())
		next := k.again(2)
		w.submit(t, next)
		synctest.Wait()
		require.Equal(t, "released", next.state(), "the next attempt has to wait, and is not lost")
		require.Equal(t, 1, w.engine.InFlight())
		close(release)
		synctest.Wait()
		require.Equal(t, "done", k.state())
		require.Len(t, w.times("send"), 1)
		w.stop(t)
	})
}

func TestWhilePostgresIsAwayTicketsAreKeptAlive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		back := make(chan struct{})
		away := func() error {
			select {
			case <-back:
				return nil
			default:
				return errAway
			}
		}
		w := newWorld(t, 8, func(w *world) { w.admit = func([]delivery.Incoming) error { return away() } })
		k := w.ticket()
		w.submit(t, k)
		time.Sleep(130 * time.Second) // fake
		synctest.Wait()
		require.Equal(t, "held", k.state())
		require.Equal(t, 6, k.keptAlive(), "every 20 s")
		require.Empty(t, w.times("send"))
		ms := func(list ...int) (times []time.Duration) {
			for _, n := range list {
				times = append(times, time.Duration(n)*time.Millisecond)
			}
			return times
		}
		require.Equal(t, ms(0, 100, 300, 700, 1500, 3100, 5100, 7100), w.times("admit")[:8], "growing pauses, up to 2 s")
		require.Len(t, w.times("trouble: admit"), len(w.times("admit")))
		close(back)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, "done", k.state())
		require.Len(t, w.times("send"), 1)
		w.stop(t)
	})
}

func TestResultsWaitForPostgresAndHoldTheirSlots(t *testing.T) {
	bubble(t, func(t *testing.T) {
		back := make(chan struct{})
		w := newWorld(t, 2, func(w *world) {
			w.record = func([]delivery.Finished) error {
				select {
				case <-back:
					return nil
				default:
					return errAway
				}
			}
		})
		made, waiting := w.tickets(2), w.tickets(10)
		w.submit(t, made...)
		synctest.Wait()
		w.submit(t, waiting...)
		time.Sleep(130 * time.Second) // fake
		synctest.Wait()
		require.Equal(t, map[string]int{"held": 2}, states(made))
		require.Equal(t, map[string]int{"held": 10}, states(waiting))
		for _, k := range made {
			require.Equal(t, 6, k.keptAlive())
		}
		require.Len(t, w.times("send"), 2, "nothing more is sent whose result could not be kept")
		require.Equal(t, 2, w.engine.InFlight())
		close(back)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, map[string]int{"done": 2}, states(made))
		require.Equal(t, map[string]int{"done": 10}, states(waiting))
		require.Len(t, w.times("send"), 12, "each once")
		require.Len(t, w.recorded, 12)
		w.stop(t)
	})
}

func refs(in []delivery.Incoming) (list []delivery.Ref) {
	for _, r := range in {
		list = append(list, r.Ref)
	}
	return list
}

func TestAMessageThatSpoilsItsBatchIsFound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var bad *ticket
		w := newWorld(t, 100, func(w *world) {
			bad = w.ticket()
			w.gate = make(chan struct{})
			w.admit = func(in []delivery.Incoming) error {
				if slices.Contains(refs(in), bad.request.Ref) {
					return errRefused
				}
				return nil
			}
		})
		list := slices.Insert(w.tickets(39), 23, bad)
		w.together(t, w.gate, list)
		require.Equal(t, "released", bad.state())
		require.Equal(t, map[string]int{"done": 39, "released": 1}, states(list))
		require.Len(t, w.recorded, 41)
		tried := 0
		for _, in := range w.admitted {
			if slices.Contains(refs(in), bad.request.Ref) {
				tried++
			}
		}
		require.Greater(t, tried, 2, "it was part of a batch")
		require.Less(t, tried, 8, "and halves of it were tried, not every message")
		require.Zero(t, w.engine.InFlight())
		w.stop(t)
	})
}

// spoilt makes Record refuse every batch with the result of a ticket, for as long as it has the texts that came from outside.
func spoilt(w *world, bad *ticket, bareToo bool) {
	w.send = func(_ context.Context, job *delivery.Job) *delivery.Attempt {
		return &delivery.Attempt{Number: job.Attempt, StatusCode: 500, Excerpt: []byte("excerpt"), Detail: "detail"}
	}
	w.record = func(finished []delivery.Finished) error {
		for _, f := range finished {
			if f.Job.Ref == bad.request.Ref && (bareToo || f.Attempt.Excerpt != nil) {
				return errRefused
			}
		}
		return nil
	}
}

func TestAResultThatSpoilsItsBatchIsRecordedBare(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var bad *ticket
		w := newWorld(t, 100, func(w *world) {
			bad = w.ticket()
			w.gateway = make(chan struct{})
			spoilt(w, bad, false)
		})
		list := slices.Insert(w.tickets(39), 23, bad)
		w.together(t, w.gateway, list)
		require.Equal(t, map[string]int{"done": 40}, states(list))
		require.Len(t, w.recorded, 42)
		require.Less(t, len(w.times("record")), 20, "halves are tried, not every result")
		for _, f := range w.recorded {
			require.Equal(t, 500, f.Attempt.StatusCode)
			require.Equal(t, delivery.Pending, f.Outcome.Status)
			if f.Job.Ref == bad.request.Ref {
				require.Nil(t, f.Attempt.Excerpt)
				require.Equal(t, "The result could not be stored in full.", f.Attempt.Detail)
				continue
			}
			require.Equal(t, "excerpt", string(f.Attempt.Excerpt))
			require.Equal(t, "detail", f.Attempt.Detail)
		}
		require.Len(t, w.schedules, 42, "its retry too")
		require.Zero(t, w.engine.InFlight())
		w.stop(t)
	})
}

func TestAResultThatCannotBeStoredAtAllAdvancesItsDelivery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var bad *ticket
		tries := 0
		w := newWorld(t, 1, func(w *world) {
			bad = w.ticket()
			spoilt(w, bad, true)
			w.advance = func(delivery.Finished) error {
				if tries++; tries < 3 {
					return errAway
				}
				return nil
			}
		})
		w.submit(t, bad)
		time.Sleep(time.Minute) // fake
		synctest.Wait()
		require.Equal(t, 3, tries)
		require.Equal(t, "done", bad.state())
		require.Len(t, w.schedules, 1, "it is retried, and so it ends")
		require.Contains(t, w.noted(), "trouble: record bare result")
		next := w.ticket()
		w.submit(t, next)
		synctest.Wait()
		require.Equal(t, "done", next.state(), "the only slot is free again")
		w.stop(t)
	})
}

func TestAResultThatEvenCannotAdvanceIsLeftToTheBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var bad *ticket
		w := newWorld(t, 1, func(w *world) {
			bad = w.ticket()
			spoilt(w, bad, true)
			w.advance = func(delivery.Finished) error { return errRefused }
		})
		w.submit(t, bad)
		synctest.Wait()
		require.Equal(t, "released", bad.state())
		require.Empty(t, w.schedules)
		require.Zero(t, w.engine.InFlight())
		next := w.ticket()
		w.submit(t, next)
		synctest.Wait()
		require.Equal(t, "done", next.state(), "the only slot is free again")
		w.stop(t)
	})
}

func TestSlotsBoundAttemptsAtTheSameTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 4, func(w *world) {
			w.send = func(_ context.Context, job *delivery.Job) *delivery.Attempt {
				time.Sleep(time.Second) // fake
				return &delivery.Attempt{Number: job.Attempt, StatusCode: 200}
			}
		})
		list := w.tickets(100)
		w.submit(t, list...)
		time.Sleep(25*time.Second + time.Millisecond)
		synctest.Wait()
		require.Equal(t, map[string]int{"done": 100}, states(list), "four a second")
		require.Equal(t, 4, w.mostAtOnce)
		w.stop(t)
	})
}

func TestSubmitWaitsForRoomAndGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		w := newWorld(t, 1, func(w *world) { w.gate = gate })
		list := w.tickets(2000) // far more than may wait
		ctx, cancel := context.WithCancel(t.Context())
		submitted := make(chan struct{})
		go func() {
			defer close(submitted)
			for _, k := range list {
				w.engine.Submit(ctx, []delivery.Ticket{k})
			}
		}()
		synctest.Wait()
		select {
		case <-submitted:
			t.Fatal("everything was taken")
		default:
		}
		cancel()
		<-submitted
		held, released := states(list)["held"], states(list)["released"]
		require.Equal(t, len(list), held+released)
		require.Positive(t, released)
		close(gate)
		synctest.Wait()
		require.Equal(t, map[string]int{"done": held, "released": released}, states(list))
		w.stop(t)
	})
}

func TestAfterStopTicketsAreReleased(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 4, nil)
		w.stop(t)
		list := w.tickets(50)
		w.submit(t, list...)
		require.Equal(t, map[string]int{"released": 50}, states(list))
		require.Empty(t, w.times("admit"))
	})
}

func TestStopFinishesAttemptsAndRecordsThem(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 2, func(w *world) {
			w.send = func(ctx context.Context, job *delivery.Job) *delivery.Attempt {
				time.Sleep(10 * time.Second) // fake
				if ctx.Err() != nil {
					return nil
				}
				return &delivery.Attempt{Number: job.Attempt, StatusCode: 200}
			}
		})
		begun, waiting := w.tickets(2), w.tickets(5)
		w.submit(t, append(begun, waiting...)...)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		require.NoError(t, w.engine.Stop(ctx))
		require.Equal(t, 10*time.Second, time.Since(w.start))
		require.Equal(t, map[string]int{"done": 2}, states(begun))
		require.Equal(t, map[string]int{"released": 5}, states(waiting), "handed back at once")
		require.Len(t, w.recorded, 2)
		require.NoError(t, w.engine.Stop(ctx), "again")
	})
}

func TestWhatStopCutsDoesNotCount(t *testing.T) {
	for name, claimed := range map[string]bool{"claimed": true, "fresh": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 2, func(w *world) {
					w.claimed = claimed
					w.send = func(ctx context.Context, _ *delivery.Job) *delivery.Attempt {
						<-ctx.Done()
						return nil
					}
				})
				k := w.ticket()
				w.submit(t, k)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
				defer cancel()
				require.NoError(t, w.engine.Stop(ctx))
				require.Equal(t, 25*time.Second, time.Since(w.start))
				require.Equal(t, "released", k.state())
				require.Empty(t, w.recorded)
				require.NotContains(t, w.noted(), "attempted")
				if claimed {
					require.Len(t, w.unclaimed, 1)
					require.Equal(t, k.request.Ref, w.unclaimed[0].Ref)
					require.Less(t, slices.Index(w.noted(), "unclaim"), slices.Index(w.noted(), "release"), "or the next one would find it claimed")
				} else {
					require.Empty(t, w.unclaimed)
				}
			})
		})
	}
}

func TestStopWhilePostgresIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 4, func(w *world) {
			w.record = func([]delivery.Finished) error { return errAway }
			w.admit = func(in []delivery.Incoming) error {
				if in[0].Attempt == 2 {
					return errAway
				}
				return nil
			}
		})
		made, asked := w.ticket(), w.ticket().again(2)
		w.submit(t, made)
		synctest.Wait()
		w.submit(t, asked)
		time.Sleep(30 * time.Second) // fake
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		require.Error(t, w.engine.Stop(ctx), "it says that results were lost")
		require.LessOrEqual(t, time.Since(begin), 12*time.Second)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, "released", made.state(), "the attempt will be repeated")
		require.Equal(t, "released", asked.state())
		require.Zero(t, w.engine.InFlight())
	})
}

// The results of attempts that end with the time get a moment of their own.
func TestStopOutOfTimeStillRecords(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 4, func(w *world) {
			w.send = func(ctx context.Context, job *delivery.Job) *delivery.Attempt {
				<-ctx.Done() // the answer comes just then
				return &delivery.Attempt{Number: job.Attempt, StatusCode: 200}
			}
			w.record = func([]delivery.Finished) error {
				time.Sleep(time.Second) // fake
				return nil
			}
		})
		k := w.ticket()
		w.submit(t, k)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.NoError(t, w.engine.Stop(ctx))
		require.Equal(t, "done", k.state())
		require.Equal(t, 11*time.Second, time.Since(w.start))
	})
}
