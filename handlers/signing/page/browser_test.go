package page

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// One Chromium and one TLS server serve all tests; each test has its own
// browser context (cookies, permissions) and its own base path.
//
// The browser is told that the server's address is a public one, so that its
// Local Network Access applies as it does between a real site and a program on
// the user's computer.
var shared struct {
	once  sync.Once
	err   error
	site  *httptest.Server
	ctx   context.Context
	close func()
}

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

func openBrowser() error {
	path, err := findChromium()
	if err != nil {
		return err
	}
	shared.site = httptest.NewTLSServer(&sites)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("ip-address-space-overrides", shared.site.Listener.Addr().String()+"=public"),
		chromedp.CombinedOutput(io.Discard),
	)
	allocator, closeAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeBrowser := chromedp.NewContext(allocator)
	shared.ctx = ctx
	shared.close = func() {
		timeout, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_ = chromedp.Cancel(timeout)
		closeBrowser()
		closeAllocator()
		shared.site.Close()
	}
	return chromedp.Do(ctx)
}

func closeBrowser() {
	if shared.close != nil {
		shared.close()
	}
}

// tab is a tab in a browser context of its own.
type tab struct {
	testing.TB
	ctx     context.Context
	wrote   func() []string
	dialogs func() int
}

func openTab(t *testing.T) *tab {
	t.Helper()
	shared.once.Do(func() { shared.err = openBrowser() })
	require.NoError(t, shared.err)
	var mu sync.Mutex
	var wrote []string
	var dialogs int
	ctx, cancel := chromedp.NewContext(shared.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx))
	ctx, stop := context.WithTimeout(ctx, 40*time.Second)
	t.Cleanup(stop)
	_, err := chromedp.Call(ctx, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			wrote = append(wrote, fmt.Sprint("console: ", e.Type))
		case *runtime.EventExceptionThrown:
			wrote = append(wrote, "exception: "+e.ExceptionDetails.Text+e.ExceptionDetails.Exception.Description)
		case *log.EventEntryAdded:
			wrote = append(wrote, fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL))
		case *page.EventJavascriptDialogOpening:
			dialogs++
		}
	}))
	b := &tab{TB: t, ctx: ctx,
		wrote: func() []string {
			mu.Lock()
			defer mu.Unlock()
			return append([]string(nil), wrote...)
		},
		dialogs: func() int {
			mu.Lock()
			defer mu.Unlock()
			return dialogs
		},
	}
	b.permit(browser.PermissionSettingGranted)
	b.viewport(800, 900)
	return b
}

// permit sets the browser's permission to reach programs on this computer.
func (b *tab) permit(setting browser.PermissionSetting) {
	b.Helper()
	_, err := chromedp.CallBrowser(b.ctx, browser.SetPermission, browser.SetPermissionParams{
		Permission:       &browser.PermissionDescriptor{Name: "loopback-network"},
		Setting:          setting,
		Origin:           shared.site.URL,
		BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
	})
	require.NoError(b, err)
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		state := evaluate[string](b, `document.body.innerText`)
		require.NoError(b, err, "the page says:\n%s\nthe console says: %q", state, b.wrote())
	}
}

func (b *tab) open(url string) {
	b.Helper()
	b.do(chromedp.Navigate(url))
}

// await waits for a state of the page.
func (b *tab) await(state string) {
	b.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(`#main[data-state="` + state + `"]`)))
}

// fails waits for a failure and checks what a reader of the screen and one who
// listens get: a heading of its own with the focus, in an alert.
func (b *tab) fails(code, title string) {
	b.Helper()
	b.await("failed")
	assert.Equal(b, code, b.attribute("#main", "data-failure"))
	assert.Equal(b, title, b.text("#failure[role=alert] h2"))
	assert.Equal(b, title, evaluate[string](b, `document.activeElement.textContent`), "focus")
	assert.True(b, strings.HasPrefix(evaluate[string](b, `document.title`), title+" – "), "title")
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

func (b *tab) attribute(selector, name string) string {
	b.Helper()
	return evaluate[string](b, fmt.Sprintf(`document.querySelector(%q).getAttribute(%q) ?? ""`, selector, name))
}

func evaluate[T any](b *tab, expression string) T {
	b.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(b, err, expression)
	return value
}

// quiet checks that the page wrote nothing to the console: no error, no
// exception, no violation of its policy.
func (b *tab) quiet() {
	b.Helper()
	assert.Empty(b, b.wrote())
	assert.Zero(b, b.dialogs())
}

func (b *tab) viewport(width, height int64) {
	b.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

func (b *tab) scheme(name string) {
	b.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	})
	require.NoError(b, err)
}

// taken are the names of the screenshots that there are.
var taken sync.Map

// shot takes screenshots of what is shown, light and dark, and checks that it
// fits into 320 pixels; once for each name.
func (b *tab) shot(name string) {
	b.Helper()
	if _, found := taken.LoadOrStore(name, true); found {
		return
	}
	directory := os.Getenv("SIGNPOST_SCREENSHOTS")
	if directory == "" {
		directory = b.TempDir()
	}
	save := func(kind string) {
		b.Helper()
		image, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		require.NoError(b, err)
		require.NoError(b, os.WriteFile(filepath.Join(directory, name+"-"+kind+".png"), image, 0o600))
	}
	b.scheme("light")
	save("light")
	b.scheme("dark")
	save("dark")
	b.viewport(320, 640)
	assert.LessOrEqual(b, evaluate[int](b, `document.documentElement.scrollWidth`), 320, "%s overflows", name)
	if strings.HasPrefix(name, "failed-") || evaluate[bool](b, `document.activeElement.closest("#panel") !== null`) {
		evaluate[bool](b, `(document.getElementById("panel").scrollIntoView(), true)`)
	}
	save("narrow")
	b.viewport(800, 900)
	b.scheme("light")
}
