// Package frame formats the messages of peers for a model: as data, each in a frame that
// its text can't leave.
//
//	<mesh_message id="0198…" from="bob" member="bob" role="member" verified="yes" sealed="direct" sent="2026-11-23T20:46:00Z" priority="next">
//	does &lt;div&gt; need the class?
//	</mesh_message>
//
// Texts and names come from other people and from their brokers, who may be hostile.
// Therefore:
//
//   - [Render] escapes every <, > and & of theirs as an entity;
//   - it shows invisible characters by their numbers; see package visible. Invalid UTF-8
//     becomes U+FFFD;
//   - everything has a maximum length, after escaping. If a text is cut, a line after its
//     frame says how to read on;
//   - outside of the frames there are only this package's own words, numbers, and ids that
//     consist of letters, digits and - _ . :
//
// All functions are pure and safe for concurrent use.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package frame
