"""cuda_library: .cu files through nvcc, as a cc_library that cc_binary can link."""
load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

def _cuda_library_impl(ctx):
    cc = find_cpp_toolchain(ctx)
    features = cc_common.configure_features(ctx = ctx, cc_toolchain = cc, requested_features = ctx.features, unsupported_features = ctx.disabled_features)
    deps = [d[CcInfo] for d in ctx.attr.deps]
    own = CcInfo(compilation_context = cc_common.create_compilation_context(headers = depset(ctx.files.hdrs)))
    compilation = cc_common.merge_cc_infos(cc_infos = deps + [own]).compilation_context
    objects = {False: [], True: []}
    for src in ctx.files.srcs:
        for pic in [False, True]:
            obj = ctx.actions.declare_file("_objs/%s/%s%s.o" % (ctx.label.name, src.basename, ".pic" if pic else ""))
            args = ctx.actions.args()
            args.add_all(["-std=c++17", "-ccbin", cc.compiler_executable, "--expt-relaxed-constexpr"])
            args.add_all(["-gencode=arch=compute_%s,code=sm_%s" % (a, a) for a in ctx.attr.archs] + ["-gencode=arch=compute_{0},code=compute_{0}".format(ctx.attr.archs[-1])])
            args.add_all({"opt": ["-O2", "-DNDEBUG"], "dbg": ["-g"]}.get(ctx.var["COMPILATION_MODE"], []))
            args.add_all(compilation.defines, before_each = "-D")
            args.add_all(depset(transitive = [compilation.quote_includes, compilation.includes]), before_each = "-I")
            args.add_all(compilation.system_includes, before_each = "-isystem")
            if pic:
                args.add("-Xcompiler=-fPIC")
            args.add_all(ctx.attr.copts)
            args.add_all(["-c", src, "-o", obj])
            ctx.actions.run(executable = ctx.executable._nvcc, arguments = [args], inputs = depset([src], transitive = [compilation.headers]), tools = cc.all_files, outputs = [obj], mnemonic = "CudaCompile", progress_message = "Compiling %s with nvcc" % src.short_path, use_default_shell_env = True)
            objects[pic].append(obj)
    linking, _ = cc_common.create_linking_context_from_compilation_outputs(
        actions = ctx.actions,
        name = ctx.label.name,
        feature_configuration = features,
        cc_toolchain = cc,
        compilation_outputs = cc_common.create_compilation_outputs(objects = depset(objects[False]), pic_objects = depset(objects[True])),
        linking_contexts = [d.linking_context for d in deps],
        disallow_dynamic_library = True,
    )
    return [CcInfo(compilation_context = compilation, linking_context = linking)]

cuda_library = rule(
    implementation = _cuda_library_impl,
    attrs = {
        "srcs": attr.label_list(allow_files = [".cu"]),
        "hdrs": attr.label_list(allow_files = [".h", ".cuh"]),
        "deps": attr.label_list(providers = [CcInfo]),
        "copts": attr.string_list(),
        "archs": attr.string_list(default = ["80", "90"]),
        "_nvcc": attr.label(default = "@cuda_toolkit//:nvcc", executable = True, cfg = "host"),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
    },
    fragments = ["cpp"],
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)
