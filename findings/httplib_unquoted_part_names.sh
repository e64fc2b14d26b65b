#!/usr/bin/env bash
# cpp-httplib: a part of a form whose name is not in quotes arrives under an empty name
#
# Seen with: cpp-httplib 0.11.4 of Debian 12 (libcpp-httplib-dev 0.11.4+ds-1+deb12u1), g++ 12 with libssl-dev.
# Does: a server prints the names of the parts it got; a client sends one part as `name="a"` and one as `name=b`, which RFC 2183 allows
# for values without special characters.
# Expected at first: the parts a and b.
# Seen:
#   [a] and []: the second has its content and no name
# Matters here: the server reads forms itself, since a picture that was sent without quotes would be lost without a word.
# Exits with 1 if that is no longer what happens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download --quiet=2 -o APT::Sandbox::User=root libcpp-httplib-dev=0.11.4+ds-1+deb12u1 libcpp-httplib0.11=0.11.4+ds-1+deb12u1
for package in ./*.deb; do dpkg -x "$package" root; done
cat > server.cpp <<'CPP'
#include <httplib.h>

#include <iostream>
#include <thread>

int main() {
  httplib::Server server;
  std::string names;
  server.Post("/", [&](const httplib::Request& request, httplib::Response&) {
    for (const auto& [name, file] : request.files) names += "[" + name + "=" + file.content + "]";
  });
  const int port = server.bind_to_any_port("127.0.0.1");
  std::thread thread([&] { server.listen_after_bind(); });
  const std::string body =
      "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n"
      "--x\r\nContent-Disposition: form-data; name=b\r\n\r\n2\r\n--x--\r\n";
  httplib::Client("127.0.0.1", port).Post("/", body, "multipart/form-data; boundary=x");
  server.stop();
  thread.join();
  std::cout << names << "\n";
  return names.find("[a=1]") != std::string::npos && names.find("[=2]") != std::string::npos ? 0 : 1;
}
CPP
libraries=$(dirname "$(find root -name 'libcpp-httplib.so.*' | head -n 1)")
library=$(find root -name 'libcpp-httplib.so.0.11*' | head -n 1)
# As Debian builds it: the macro decides what its classes hold.
g++ -std=c++17 -D CPPHTTPLIB_OPENSSL_SUPPORT -Iroot/usr/include server.cpp "$library" -Wl,-rpath,"$PWD/$libraries" -lssl -lcrypto -pthread -o server
./server
