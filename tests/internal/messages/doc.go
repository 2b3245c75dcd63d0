// Package messages is a mock of the Messages API that Claude Code uses. It answers on loopback
// like the API, with a scripted model. It keeps every request, so that a test can check what
// has reached the model's context.
//
// The model follows three rules:
//
//   - It obeys markers in the newest prompt; see [Server].
//   - It calls the tool check_messages if something new in the conversation, from whomever,
//     points to unread mesh messages, or if the result of that tool says that there are more.
//   - Otherwise it says ok.
//
// The messages after the last one of the assistant are new. A prompt among them counts only
// after the last tool result, because the result of an interrupted tool comes in the same group
// as the next prompt.
//
// A [Server] is safe for concurrent use.
package messages
