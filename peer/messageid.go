package peer

import "fmt"

// idPart is how many characters of a message's id stand for it, at its start or end.
const idPart = 8

// ShortID is what people are shown of a message's id: its end. The start of a broker's id
// is the time, and the same for all messages of a minute.
func ShortID(id string) string { return id[max(0, len(id)-idPart):] }

// CheckMessageID says what is wrong with a text that is given as the id of a message, or
// its start or end.
func CheckMessageID(text string) error {
	if len(text) < idPart {
		return fmt.Errorf("%q is too short for the id of a message: give the last %d characters, as they are printed, or all of it", text, idPart)
	}
	return nil
}
