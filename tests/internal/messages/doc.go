// Package messages is a mock of the Messages API that Claude Code talks to: it
// answers on loopback as the API does, with a scripted model behind it, and keeps
// every request, so that a test can ask what has reached the model's context.
//
// The model follows three rules:
//
//   - markers in the newest prompt make it do what they say, see [Server];
//   - a neutral pointer to unread mesh messages, in what is new in the conversation
//     and whoever says it, makes it call the tool check_messages, and so does the
//     result of that tool when it says that there is more;
//   - else it says ok.
//
// What is new are the messages after the last one of the assistant. A prompt in
// them counts only when it comes after the last tool result: the result of a tool
// that was interrupted stands in the same group as the next prompt.
//
// A [Server] may be used by several goroutines.
package messages
