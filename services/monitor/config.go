package monitor

import (
	"net"
	"regexp"
	"time"

	"github.com/beaconpost/beaconpost/pkg/config"
	"github.com/beaconpost/beaconpost/pkg/netguard"
	"github.com/beaconpost/beaconpost/pkg/secretbox"
	"github.com/beaconpost/beaconpost/pkg/service"
	"github.com/beaconpost/beaconpost/services/monitor/internal/mail"
)

// Config of the service. Variables have the prefix BEACONPOST_.
type Config struct {
	service.Config
	Listen      string             `env:"LISTEN" envDefault:":8082" doc:"Address of the public API."`
	AdminListen string             `env:"ADMIN_LISTEN" envDefault:":9092" doc:"Address of metrics, health and pprof."`
	SecretsKeys *secretbox.Keyring `env:"SECRETS_KEYS,required" doc:"The keys that passwords and tokens of checks are sealed with; the same as ingest's."`
	Monitor     Settings           `envPrefix:"MONITOR_"`
	SMTP        mail.Config        `envPrefix:"SMTP_"`
}

// Settings of checks and what is kept of them.
type Settings struct {
	Region         string          `env:"REGION" envDefault:"default" doc:"The region that this process checks from."`
	Concurrency    int             `env:"CONCURRENCY" envDefault:"2048" doc:"Checks at the same time per replica. When a fifth of the targets hang for 10 s it takes ten times as many as when none does."`
	Canaries       []string        `env:"CANARIES" doc:"Places (host:port, separated by commas) that can be connected to when the network is there. A check that fails while none of them can be is not_checked. None: the network is believed to be there."`
	Nameserver     string          `env:"NAMESERVER" doc:"host:port that is asked for names of targets, and by dns monitors that name no resolver. Empty: those of the machine, whose private names such monitors can then find out."`
	Network        netguard.Policy `envPrefix:"NETWORK_"`
	AllowProxies   bool            `env:"ALLOW_PROXIES" doc:"Checks may go through a proxy that their monitor names. What is behind it the network policy does not see."`
	DryRun         bool            `env:"DRY_RUN" doc:"No check is made: each is up at once. To measure the schedule on its own."`
	CheckRetention time.Duration   `env:"CHECK_RETENTION" envDefault:"720h" doc:"Age at which single checks are dropped, in whole days."`
	FiveRetention  time.Duration   `env:"ROLLUP_5M_RETENTION" envDefault:"2160h" doc:"Age at which rollups of five minutes are dropped, in whole days."`
	HourRetention  time.Duration   `env:"ROLLUP_1H_RETENTION" envDefault:"9600h" doc:"Age at which rollups of hours are dropped, in whole months. Those of days stay."`

	NotificationRetention time.Duration `env:"NOTIFICATION_RETENTION" envDefault:"2160h" doc:"Age at which the log of what was sent, or could not be, is deleted; 0: never."`
	HistoryRetention      time.Duration `env:"HISTORY_RETENTION" envDefault:"9600h" doc:"Age since their end at which incidents, with notes and log, and the statuses that uptime is summed up from are deleted; 0: never."`
	UsageRetention        time.Duration `env:"USAGE_RETENTION" envDefault:"9600h" doc:"Age at which the hours of what tenants used are dropped; 0: never."`
}

var isRegion = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// Validate implements config.Validator.
func (s Settings) Validate() []error {
	var problems []error
	if !isRegion.MatchString(s.Region) {
		problems = append(problems, config.Invalid("REGION", "expected 1 to 32 of a-z, 0-9 and -, got %q", s.Region))
	}
	if s.Concurrency < 1 || s.Concurrency > 100000 {
		problems = append(problems, config.Invalid("CONCURRENCY", "expected 1 to 100000, got %d", s.Concurrency))
	}
	for _, canary := range s.Canaries {
		if !isPlace(canary) {
			problems = append(problems, config.Invalid("CANARIES", "expected host:port, got %q", canary))
		}
	}
	if s.Nameserver != "" && !isPlace(s.Nameserver) {
		problems = append(problems, config.Invalid("NAMESERVER", "expected host:port, got %q", s.Nameserver))
	}
	for name, d := range map[string]time.Duration{"CHECK_RETENTION": s.CheckRetention, "ROLLUP_5M_RETENTION": s.FiveRetention, "ROLLUP_1H_RETENTION": s.HourRetention} {
		if d < 72*time.Hour {
			problems = append(problems, config.Invalid(name, "expected at least 72h, got %s", d))
		}
	}
	for name, d := range map[string]time.Duration{"NOTIFICATION_RETENTION": s.NotificationRetention, "HISTORY_RETENTION": s.HistoryRetention, "USAGE_RETENTION": s.UsageRetention} {
		if d != 0 && d < 744*time.Hour {
			problems = append(problems, config.Invalid(name, "expected at least 744h (31 days), or 0, got %s", d))
		}
	}
	return problems
}

func isPlace(text string) bool {
	host, port, err := net.SplitHostPort(text)
	return err == nil && host != "" && port != ""
}
