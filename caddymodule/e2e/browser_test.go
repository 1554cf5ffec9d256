//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	cdplog "github.com/chromedp/cdproto/log"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// chromium is a browser of a test's own.
type chromium struct{ ctx context.Context }

func findChromium() (string, error) {
	if path := os.Getenv("SIGNPOST_CHROMIUM"); path != "" {
		return path, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("these tests need a Chromium: apt-get install chromium, or set SIGNPOST_CHROMIUM to its path")
}

// startChromium starts a browser that takes the addresses of these URLs for
// public ones, so that its Local Network Access applies as it does between a
// real site and a program on the user's computer.
func startChromium(t testing.TB, public ...string) *chromium {
	t.Helper()
	path, err := findChromium()
	require.NoError(t, err)
	overrides := make([]string, 0, len(public))
	for _, address := range public {
		u, err := url.Parse(address)
		require.NoError(t, err)
		overrides = append(overrides, net.JoinHostPort("127.0.0.1", u.Port())+"=public")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("ip-address-space-overrides", strings.Join(overrides, ",")),
		chromedp.CombinedOutput(io.Discard),
	)
	allocator, closeAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeBrowser := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		timeout, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_ = chromedp.Cancel(timeout) // it may have died
		closeBrowser()
		closeAllocator()
	})
	require.NoError(t, chromedp.Do(ctx))
	return &chromium{ctx}
}

// tab is a tab in a browser context of its own, as if it were another browser.
type tab struct {
	testing.TB

	ctx context.Context

	mu      sync.Mutex
	wrote   []string
	dialogs int
}

// open opens a tab whose user lets the sites reach programs on this computer.
func (c *chromium) open(t testing.TB, sites ...string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(c.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx))
	ctx, stop := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(stop)
	_, err := chromedp.Call(ctx, cdplog.Enable, cdp.Empty{})
	require.NoError(t, err)
	b := &tab{TB: t, ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, b.hear))
	for _, site := range sites {
		b.permit(site, browser.PermissionSettingGranted)
	}
	b.do(chromedp.EmulateViewport(800, 900))
	return b
}

func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		b.wrote = append(b.wrote, fmt.Sprint("console: ", e.Type))
	case *runtime.EventExceptionThrown:
		b.wrote = append(b.wrote, "exception: "+e.ExceptionDetails.Text+e.ExceptionDetails.Exception.Description)
	case *cdplog.EventEntryAdded:
		b.wrote = append(b.wrote, fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *cdppage.EventJavascriptDialogOpening:
		b.dialogs++
	}
}

// said is what the console got.
func (b *tab) said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.wrote...)
}

// quiet checks that nothing went to the console: no error, no exception, no
// violation of a policy.
func (b *tab) quiet() {
	b.Helper()
	assert.Empty(b, b.said())
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Zero(b, b.dialogs)
}

// permit sets the permission to reach programs on this computer.
func (b *tab) permit(site string, setting browser.PermissionSetting) {
	b.Helper()
	_, err := chromedp.CallBrowser(b.ctx, browser.SetPermission, browser.SetPermissionParams{
		Permission: &browser.PermissionDescriptor{Name: "loopback-network"},
		Setting:    setting, Origin: originOf(b, site),
		BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
	})
	require.NoError(b, err)
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		shown, _ := chromedp.Run(context.WithoutCancel(b.ctx), chromedp.Evaluate[string](`document.body.innerText`))
		require.NoError(b, err, "the page says:\n%s\nthe console says: %q", shown, b.said())
	}
}

func (b *tab) visit(address string) {
	b.Helper()
	b.do(chromedp.Navigate(address))
}

// await waits for a state of the signing page.
func (b *tab) await(state string) {
	b.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(`#main[data-state="` + state + `"]`)))
}

// fails waits for a failure, which says in a heading what is the matter.
func (b *tab) fails(code, title string) {
	b.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(`#main[data-state="failed"][data-failure="` + code + `"]`)))
	assert.Equal(b, title, b.text("#failure h2"))
	b.shot("failed-" + code)
}

// press clicks the button with this text.
func (b *tab) press(label string) {
	b.Helper()
	b.do(chromedp.Click(chromedp.Search(fmt.Sprintf(`//*[self::button or self::a][normalize-space()=%q]`, label))))
}

func (b *tab) text(selector string) string {
	b.Helper()
	return evaluate[string](b, fmt.Sprintf(`document.querySelector(%q).innerText.trim()`, selector))
}

func evaluate[T any](b *tab, expression string) T {
	b.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(b, err, expression)
	return value
}

// taken are the names of the screenshots that there are.
var taken sync.Map

// shot takes a screenshot of what is shown, once for each name.
func (b *tab) shot(name string) {
	b.Helper()
	if _, found := taken.LoadOrStore(name, true); found {
		return
	}
	directory := os.Getenv("SIGNPOST_SCREENSHOTS")
	if directory == "" {
		directory = b.TempDir()
	}
	image, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(filepath.Join(directory, "e2e-"+name+".png"), image, 0o600))
}
