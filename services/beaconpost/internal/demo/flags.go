package demo

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/urfave/cli/v3"
)

// Flags gives the flags of a command that calls the API; Connect reads them.
func Flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "url", Usage: "the public API; found in the data directory unless given", Sources: cli.EnvVars("BEACONPOST_URL")},
		&cli.StringFlag{
			Name: "api-key", Usage: "credential; found in the data directory unless given", Sources: cli.EnvVars("BEACONPOST_API_KEY"), HideDefault: true,
		},
		&cli.StringFlag{Name: "data-dir", Usage: "data directory of beaconpost up, for what neither a flag nor the environment says", Value: DefaultDataDir()},
	}
}

// Connect gives the client that cmd describes. URL and key are taken each from the first that has it: flag, environment, demo file.
// The demo file's key is not sent to other machines.
func Connect(cmd *cli.Command) (Client, error) {
	c := Client{URL: cmd.String("url"), APIKey: cmd.String("api-key")}
	if c.URL == "" || c.APIKey == "" {
		file, err := Read(cmd.String("data-dir"))
		if err != nil {
			return Client{}, fmt.Errorf("find URL and API key (or give --url and --api-key): %w", err)
		}
		if err := c.complete(file); err != nil {
			return Client{}, err
		}
	}
	if err := c.normalize(); err != nil {
		return Client{}, err
	}
	return c, nil
}

func (c *Client) complete(file File) error {
	if c.URL == "" {
		c.URL = file.URL
	}
	if c.APIKey != "" {
		return nil
	}
	if hostOf(c.URL) != hostOf(file.URL) && !isLoopback(hostOf(c.URL)) {
		return fmt.Errorf("the API key in the data directory belongs to %s: give --api-key for %s", file.URL, c.URL)
	}
	c.APIKey = file.APIKey
	return nil
}

func (c *Client) normalize() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return errors.New("--url: expected a URL such as http://127.0.0.1:8080")
	}
	c.URL = strings.TrimRight(c.URL, "/")
	return nil
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
