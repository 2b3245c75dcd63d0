// Package frame writes messages of peers for a model to read: as data, each in
// a frame that its text can't leave.
//
//	<mesh_message id="0198…" from="bob" member="bob" role="member" verified="yes" sealed="direct" sent="2026-11-23T20:46:00Z" priority="next">
//	does &lt;div&gt; need the class?
//	</mesh_message>
//
// Text and names come from people who may mean harm, and so may their brokers.
// Therefore
//
//   - no < and no > that [Render] writes is theirs: they stand as entities, as & does;
//   - what can't be seen is shown by its number, as package visible says. Bytes that
//     are no UTF-8 become U+FFFD;
//   - everything has a limit, after escaping. A text beyond it is cut, and a line
//     after its frame says how to read on;
//   - outside of the frames stand only this package's words, numbers, and ids of
//     letters, digits and - _ . :
//
// All functions are pure and safe for concurrent use.
package frame
