package notifyauth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBufferFactor: bodies that the next handler copies are charged as often.
func TestBufferFactor(t *testing.T) {
	const secret = "3d844edf-8d35-48ac-975b-e847b4f122b0"
	key, err := NewKey("live", secret)
	require.NoError(t, err)
	config := Config{
		Services: StaticServices(&Service{ID: "a", Keys: []*Key{key}}),
		MaxBody:  100, Buffers: NewBudget(400), BufferFactor: 4,
		Now: func() time.Time { return time.Unix(1_800_000_000, 0) },
	}
	v, err := New(config)
	require.NoError(t, err)
	authenticate := func() (func(), error) {
		body := strings.Repeat("x", 100)
		token, err := Mint(MintRequest{Service: "a", Secret: secret, IssuedAt: config.Now(), Method: "POST", Path: "/", Body: []byte(body)})
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		_, release, err := v.Authenticate(httptest.NewRecorder(), r, OriginalOf(r))
		return release, err
	}
	release, err := authenticate()
	require.NoError(t, err)
	require.EqualValues(t, 400, config.Buffers.Used())
	_, err = authenticate()
	var refused *Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, CodeBusy, refused.Code)
	release()
	require.Zero(t, config.Buffers.Used())

	config.Buffers = NewBudget(399)
	_, err = New(config)
	require.ErrorContains(t, err, "less than one body may need (400)")
	config.BufferFactor = -1
	_, err = New(config)
	require.Error(t, err)
}
