package wire

// MaxSlugLen is the maximum length of a mesh slug, in bytes.
const MaxSlugLen = 64

// ValidSlug reports whether s is a mesh slug: 1-64 of [a-z0-9._-] without a leading
// dot. Clients use slugs as directory names.
func ValidSlug(s string) bool {
	if s == "" || len(s) > MaxSlugLen || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
