package peer

// idPart is how many characters of a message's id stand for it, at its start or end.
const idPart = 8

// ShortID is what people are shown of a message's id: its end. The start of a broker's id
// is the time, and the same for all messages of a minute.
func ShortID(id string) string { return id[max(0, len(id)-idPart):] }
