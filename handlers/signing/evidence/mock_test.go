package evidence

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newMock(t testing.TB) *Mock {
	t.Helper()
	m, err := NewMock(atTestNow)
	require.NoError(t, err)
	return m
}

func mockUpload(t testing.TB, m *Mock, algorithm string) Upload {
	t.Helper()
	u := Upload{Algorithm: algorithm, Subject: testUser, Documents: documents(2)}
	var err error
	u.Signatures, u.Certificate, err = m.Sign(testUser, algorithm, u.Documents)
	require.NoError(t, err)
	return u
}

func TestMock(t *testing.T) {
	m, root := newMock(t), newAuthority(t, "Root", nil)
	for _, algorithm := range []string{RS256, RS1} {
		u := mockUpload(t, m, algorithm)
		for name, c := range map[string]Config{
			"alone":      {Mock: m},
			"strict":     {Mock: m, Roots: pool(root), MinKeyBits: 4096, RequireNonRepudiation: true, Revocation: RevocationHard},
			"by serial":  {Mock: m, SubjectFrom: SubjectSerialNumber},
			"as an root": {Roots: m.Roots()},
		} {
			e, err := newVerifier(t, c).Verify(t.Context(), u)
			require.NoError(t, err, name)
			assert.Equal(t, testUser, e.Subject, name)
			assert.Equal(t, c.Mock != nil, e.Mock, name)
			assert.Equal(t, NotChecked, e.Revocation, name)
		}
	}
}

func TestMockSaysSo(t *testing.T) {
	m := newMock(t)
	e, err := newVerifier(t, Config{Mock: m}).Verify(t.Context(), mockUpload(t, m, RS256))
	require.NoError(t, err)
	c := e.Certificate
	assert.Equal(t, "MOCK - NOT A REAL SIGNATURE", MockMark)
	assert.Equal(t, testUser+"_MOCK", c.Subject.CommonName)
	for _, name := range [][]string{c.Subject.Organization, c.Subject.OrganizationalUnit, c.Issuer.Organization, c.Issuer.OrganizationalUnit} {
		assert.Equal(t, []string{MockMark}, name)
	}
	assert.Contains(t, c.Issuer.CommonName, MockMark)
	assert.True(t, c.NotAfter.Equal(testNow.Add(time.Hour)))
}

// Only the very mock that a verifier was given is believed.
func TestForeignMock(t *testing.T) {
	m, other, root := newMock(t), newMock(t), newAuthority(t, "Root", nil)
	for name, c := range map[string]Config{
		"no mock":      {Roots: pool(root)},
		"another mock": {Roots: pool(root), Mock: other},
		"mock alone":   {Mock: other},
	} {
		_, err := newVerifier(t, c).Verify(t.Context(), mockUpload(t, m, RS256))
		require.Error(t, err, name)
		assert.Equal(t, CodeUntrusted, CodeOf(err), name)
	}
	// Without roots of its own a verifier must not fall back to the system's.
	v := newVerifier(t, Config{Mock: m})
	require.NotNil(t, v.roots)
	_, err := v.Verify(t.Context(), newUpload(t, root, 1))
	refused(t, err, CodeUntrusted, "")
}

func TestMockChecksWhatItIsFor(t *testing.T) {
	m := newMock(t)
	v := newVerifier(t, Config{Mock: m})
	u := mockUpload(t, m, RS256)
	u.Subject = "42"
	_, err := v.Verify(t.Context(), u)
	refused(t, err, CodeSubject, "")
	u = mockUpload(t, m, RS256)
	u.Documents[1].Payload = []byte("another")
	_, err = v.Verify(t.Context(), u)
	refused(t, err, CodeSignature, `"doc-1"`)
	_, err = newVerifier(t, Config{Mock: m, Now: func() time.Time { return testNow.Add(2 * time.Hour) }}).Verify(t.Context(), mockUpload(t, m, RS256))
	refused(t, err, CodeExpired, "")

	_, _, err = m.Sign("", RS256, nil)
	require.ErrorContains(t, err, "needs a subject")
	_, _, err = m.Sign(testUser, "RS512", nil)
	require.ErrorContains(t, err, "expected RS256 or RS1")
	_, _, err = m.Sign("\xff", RS256, nil)
	require.Error(t, err)
}
