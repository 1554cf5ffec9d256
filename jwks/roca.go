package jwks

import "math/big"

// vulnerableROCA reports whether a modulus was made by the faulty prime search
// of some smartcard and TPM chips (CVE-2017-15361): there, all primes, and so
// all moduli, are powers of 65537 modulo every small prime. An honest modulus
// has that property once in 2^28.
func vulnerableROCA(n *big.Int) bool {
	var prime, rest big.Int
	for p, powers := range rocaPowers {
		if !powers[rest.Mod(n, prime.SetInt64(int64(p))).Int64()] {
			return false
		}
	}
	return true
}

// rocaPowers holds the powers of 65537 modulo each of the primes 3 to 167.
var rocaPowers = func() map[int][]bool {
	all := make(map[int][]bool)
	for p := 3; p <= 167; p += 2 {
		if !big.NewInt(int64(p)).ProbablyPrime(0) {
			continue
		}
		powers := make([]bool, p)
		for x := 1; !powers[x]; x = x * 65537 % p {
			powers[x] = true
		}
		all[p] = powers
	}
	return all
}()
