package peer

import "fmt"

// idPart is how many characters from the start or end of a message's id identify it.
const idPart = 8

// ShortID returns the end of a message's id, for people. The start of a broker's id is the
// time, so all messages of a minute share it.
func ShortID(id string) string { return id[max(0, len(id)-idPart):] }

// CheckMessageID returns an error if text can't be the id of a message, or the start or
// end of one.
func CheckMessageID(text string) error {
	if len(text) < idPart {
		return fmt.Errorf("%q is too short for the id of a message; give the last %d characters, as claudemesh prints them, or the whole id", text, idPart)
	}
	return nil
}
