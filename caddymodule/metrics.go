package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/notifications"
	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/signing"
)

const (
	metricsNamespace = "caddy"
	metricsSubsystem = "signpost"
)

// The collectors exist once in the process and are registered anew with each
// configuration's registry, so that a reload loses no counts. Labels come from
// configuration and constants only, never from requests.
var (
	authTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "notify_auth_total",
		Help: "Requests checked for a Notify token, by result: ok or a reason code.",
	}, []string{"result"})
	jwksAuthTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "jwks_auth_total",
		Help: "Requests checked for a token of a key set, by result: ok, cached (ok, its signature was known), none (passed without a token) or a reason code.",
	}, []string{"result"})
	apiSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "notify_api_duration_seconds",
		Help: "Time to answer an authenticated request of the notification API.", Buckets: prometheus.DefBuckets,
	}, []string{"route", "result"})
	signingSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "signing_api_duration_seconds",
		Help: "Time to answer a request of the signing API.", Buckets: prometheus.DefBuckets,
	}, []string{"route", "result"})
	deliveryTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "delivery_attempts_total",
		Help: "Attempts to deliver a notification.",
	}, []string{"channel", "provider", "result"})
	deliverySeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "delivery_duration_seconds",
		Help: "Time that calls to a delivery provider took.", Buckets: prometheus.DefBuckets,
	}, []string{"provider"})
	callbackTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "callbacks_total",
		Help: "Calls that tell services what became of their notifications, by result.",
	}, []string{"result"})
)

func registerMetrics(registry *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{authTotal, jwksAuthTotal, apiSeconds, signingSeconds, deliveryTotal, deliverySeconds, callbackTotal, breakerCollector{}, queueCollector{}, keySetCollector{}} {
		err := registry.Register(c)
		if err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

func observeAuth(r notifyauth.Result) {
	result := "ok"
	if r.Code != "" {
		result = string(r.Code)
	}
	authTotal.WithLabelValues(result).Inc()
}

func observeAPI(e notifications.Event) {
	apiSeconds.WithLabelValues(e.Route, e.Result).Observe(e.Duration.Seconds())
}

func observeSigning(e signing.Event) {
	signingSeconds.WithLabelValues(e.Route, e.Result).Observe(e.Duration.Seconds())
}

func observeDelivery(e delivery.Event) {
	deliveryTotal.WithLabelValues(string(e.Channel), e.Provider, string(e.Result)).Inc()
	if e.Duration > 0 {
		deliverySeconds.WithLabelValues(e.Provider).Observe(e.Duration.Seconds())
	}
}

func observeCallback(e delivery.CallbackEvent) {
	callbackTotal.WithLabelValues(string(e.Result)).Inc()
}

// breakerCollector shows the breakers of the running configuration's providers.
type breakerCollector struct{}

var breakerState = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "delivery_breaker"),
	"The state of a provider's circuit breaker on this node: 1 for the one that it is in.", []string{"provider", "state"}, nil)

// Describe implements prometheus.Collector.
func (breakerCollector) Describe(ch chan<- *prometheus.Desc) { ch <- breakerState }

// Collect implements prometheus.Collector.
func (breakerCollector) Collect(ch chan<- prometheus.Metric) {
	v, err := caddy.ActiveContext().AppIfConfigured(appID)
	if err != nil {
		return
	}
	for _, p := range v.(*App).dispatcher.Providers() {
		for _, state := range []delivery.BreakerState{delivery.BreakerClosed, delivery.BreakerOpen, delivery.BreakerHalfOpen} {
			value := 0.0
			if p.State == state {
				value = 1
			}
			ch <- prometheus.MustNewConstMetric(breakerState, prometheus.GaugeValue, value, p.Name, string(state))
		}
	}
}

// queueCollector asks the running configuration's storage for the state of the
// queue when metrics are scraped.
type queueCollector struct{}

var (
	queueDepth = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "queue_notifications"),
		"Notifications in the queue, by state: queued, outstanding (taken, no receipt yet) or dead_letter.", []string{"state"}, nil)
	queueCallbacks = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "queue_callbacks"),
		"Callbacks that services are owed.", nil, nil)
	queueAge = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "queue_oldest_seconds"),
		"Age of the oldest queued notification; 0 when none is queued.", nil, nil)
	storageUp = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "storage_up"),
		"Whether the storage answers (1) or not (0).", nil, nil)
)

// Describe implements prometheus.Collector.
func (queueCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- queueDepth
	ch <- queueCallbacks
	ch <- queueAge
	ch <- storageUp
}

// scrapeTimeout bounds what a scrape waits for the storage.
const scrapeTimeout = 2 * time.Second

// Collect implements prometheus.Collector.
func (queueCollector) Collect(ch chan<- prometheus.Metric) {
	v, err := caddy.ActiveContext().AppIfConfigured(appID)
	if err != nil {
		return
	}
	app := v.(*App)
	if len(app.needs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	if err := app.handle.Acquire(ctx, scrapeTimeout); err != nil {
		ch <- prometheus.MustNewConstMetric(storageUp, prometheus.GaugeValue, 0)
		return
	}
	defer app.handle.Release()
	stats, err := app.handle.Backend().Stats(ctx)
	if err != nil {
		ch <- prometheus.MustNewConstMetric(storageUp, prometheus.GaugeValue, 0)
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(storageUp, 1)
	gauge(queueDepth, float64(stats.Queued), "queued")
	gauge(queueDepth, float64(stats.Outstanding), "outstanding")
	gauge(queueDepth, float64(stats.DeadLettered), "dead_letter")
	gauge(queueCallbacks, float64(stats.Callbacks))
	age := 0.0
	if !stats.Oldest.IsZero() {
		age = max(0, clock().Sub(stats.Oldest).Seconds())
	}
	gauge(queueAge, age)
}
