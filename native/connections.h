// The TCP sockets of this process on one of its ports, as the system knows them. A few system calls for each
// socket: made from Python they would ask for the interpreter's lock again after every one, thousands of times
// in a second where a peer holds a thousand connections, and the calls of all others would wait for it.
#pragma once

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace tracecode {

struct SocketSeen {
    int descriptor;
    int port;       // the peer's; 0: it listens
    uint64_t read;  // bytes that came and were read
    char host[INET6_ADDRSTRLEN];
};

// An address as text and its port. gRPC listens for both families with one socket, which names IPv4 in IPv6.
inline int name_address(const sockaddr_storage &address, char *host) {
    host[0] = 0;
    if (address.ss_family == AF_INET) {
        const auto &four = reinterpret_cast<const sockaddr_in &>(address);
        inet_ntop(AF_INET, &four.sin_addr, host, INET6_ADDRSTRLEN);
        return ntohs(four.sin_port);
    }
    if (address.ss_family != AF_INET6) return -1;
    const auto &six = reinterpret_cast<const sockaddr_in6 &>(address);
    if (IN6_IS_ADDR_V4MAPPED(&six.sin6_addr)) {
        inet_ntop(AF_INET, six.sin6_addr.s6_addr + 12, host, INET6_ADDRSTRLEN);
    } else {
        inet_ntop(AF_INET6, &six.sin6_addr, host, INET6_ADDRSTRLEN);
    }
    return ntohs(six.sin6_port);
}

// Whether `descriptor` is a socket of this port, and what it is. Its owner may close it at any moment, and another
// take its number: what is then said of it is forgotten at the next look.
inline bool look_at(int descriptor, int port, SocketSeen &seen) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    char own[INET6_ADDRSTRLEN];
    if (getsockname(descriptor, reinterpret_cast<sockaddr *>(&address), &size) != 0) return false;
    if (name_address(address, own) != port) return false;
    int type = 0, listens = 0;
    size = sizeof(type);
    if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) return false;
    size = sizeof(listens);
    if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0) return false;
    seen = SocketSeen{descriptor, 0, 0, {}};
    if (listens) return true;
    size = sizeof(address);
    if (getpeername(descriptor, reinterpret_cast<sockaddr *>(&address), &size) != 0) return false;
    seen.port = name_address(address, seen.host);
    tcp_info info{};
    size = sizeof(info);
    int unread = 0;
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return false;
    // Kernels before 4.1 do not count.
    if (size < offsetof(tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received)) return true;
    if (ioctl(descriptor, FIONREAD, &unread) != 0) return false;
    seen.read = info.tcpi_bytes_received > uint64_t(unread) ? info.tcpi_bytes_received - unread : 0;
    return true;
}

// All of them; false if the system does not tell the descriptors of this process.
inline bool list_sockets(int port, std::vector<SocketSeen> &found) {
    DIR *folder = opendir("/proc/self/fd");
    if (folder == nullptr) return false;
    SocketSeen seen;
    while (const dirent *entry = readdir(folder)) {
        if (entry->d_name[0] == '.') continue;
        if (look_at(std::atoi(entry->d_name), port, seen)) found.push_back(seen);
    }
    closedir(folder);
    return true;
}

}  // namespace tracecode
