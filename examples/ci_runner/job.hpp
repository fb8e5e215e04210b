// A job for a microVM of its own, as a file in TOML says it; job/job.toml shows all there is.
#pragma once

#include <chrono>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

struct Step {
  std::string name;
  std::string run;  // for /bin/sh
  std::string workdir;
};

struct Copy {
  std::string from;
  std::string to;  // a directory, which is made
};

struct Job {
  std::string image;
  std::chrono::seconds timeout{0};  // of all of it; 0: none
  std::vector<std::string> env;     // "NAME=value"
  std::vector<Copy> files;          // from the host, beside the job's file, into the microVM
  std::vector<Step> steps;
  std::vector<Copy> artifacts;  // the other way, whether or not the steps succeed
};

// what() is "FILE:LINE: what is wrong".
struct JobError : std::runtime_error {
  using runtime_error::runtime_error;
};

Job read_job(const std::filesystem::path& file);  // throws JobError
