# Who is connected to a port of this process.

cdef extern from "connections.h" namespace "tracecode" nogil:
    struct SocketSeen:
        int descriptor
        int port
        uint64_t read
        char host[46]
    bint list_sockets(int port, vector[SocketSeen] &found) except +


def list_connections(int port):
    """The sockets of this process on a TCP port: the descriptors that listen, and of each connection its
    descriptor, the peer's host and port, and the bytes read from it. Raises OSError if the system does not
    tell (no /proc)."""
    cdef vector[SocketSeen] found
    cdef SocketSeen seen
    cdef bint told
    with nogil:
        told = list_sockets(port, found)
    if not told:
        raise OSError("/proc/self/fd cannot be read")
    listeners = [seen.descriptor for seen in found if seen.port == 0]
    connections = [
        (seen.descriptor, seen.host.decode(), seen.port, seen.read) for seen in found if seen.port != 0
    ]
    return listeners, connections
