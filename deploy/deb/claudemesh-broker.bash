# Completion for claudemesh-broker: cobra, the library of Caddy's commands, completes `caddy claudemesh`.
_claudemesh_broker() {
	mapfile -t COMPREPLY < <(/usr/lib/claudemesh/caddy __completeNoDesc claudemesh "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$2" 2>/dev/null | grep -v '^:')
}
complete -F _claudemesh_broker claudemesh-broker
