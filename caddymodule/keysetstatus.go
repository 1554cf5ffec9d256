package caddymodule

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/jwksauth"
	"github.com/signpost-gateway/signpost/jwks"
)

// keySetsInfo is the state of the key sets: public values only.
type keySetsInfo struct {
	KeySets []jwks.Status `json:"key_sets"`
}

func getKeySets(app *App, _ *http.Request) (int, any, error) {
	return http.StatusOK, keySetsInfo{app.keySetStatus()}, nil
}

// keySetStatus describes the key sets, by name.
func (a *App) keySetStatus() []jwks.Status {
	all := make([]jwks.Status, 0, len(a.keySets))
	for _, k := range a.keySets {
		all = append(all, k.pooled.Status())
	}
	slices.SortFunc(all, func(x, y jwks.Status) int { return cmp.Compare(x.Name, y.Name) })
	return all
}

func observeJWKSAuth(r jwksauth.Result) {
	result := "ok"
	switch {
	case r.Code != "":
		result = string(r.Code)
	case r.Anonymous:
		result = "none"
	case r.Cached:
		result = "cached"
	}
	jwksAuthTotal.WithLabelValues(result).Inc()
}

// keySetCollector tells the state of the running configuration's key sets when
// metrics are scraped.
type keySetCollector struct{}

var (
	keySetKeys = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "key_set_keys"),
		"Keys of the key set that can be used; with 0, tokens are answered with 503.", []string{"key_set"}, nil)
	keySourceUp = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "key_source_up"),
		"Whether the last load of the key source succeeded (1) or not (0).", []string{"key_set", "source", "kind"}, nil)
	keySourceAge = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "key_source_age_seconds"),
		"Time since the source's keys were last confirmed; absent when they never were, and for inline keys.", []string{"key_set", "source", "kind"}, nil)
	keySourceSkipped = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "key_source_skipped_keys"),
		"Keys of the source that can't be used; the admin endpoint /signpost/keys says why.", []string{"key_set", "source", "kind"}, nil)
)

// Describe implements prometheus.Collector.
func (keySetCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- keySetKeys
	ch <- keySourceUp
	ch <- keySourceAge
	ch <- keySourceSkipped
}

// Collect implements prometheus.Collector.
func (keySetCollector) Collect(ch chan<- prometheus.Metric) {
	v, err := caddy.ActiveContext().AppIfConfigured(appID)
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, set := range v.(*App).keySetStatus() {
		gauge(keySetKeys, float64(len(set.KeyIDs)), set.Name)
		for i, source := range set.Sources {
			labels := []string{set.Name, strconv.Itoa(i + 1), source.Kind}
			up := 0.0
			if source.State == jwks.StateOK {
				up = 1
			}
			gauge(keySourceUp, up, labels...)
			gauge(keySourceSkipped, float64(len(source.Skipped)), labels...)
			if source.Kind != "inline" && !source.LastSuccess.IsZero() {
				gauge(keySourceAge, float64(source.AgeSeconds), labels...)
			}
		}
	}
}
