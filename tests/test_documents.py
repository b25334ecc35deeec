"""The code in README and docs runs, and prints what they say it prints."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

from funcgrad import rulesets

ROOT = Path(__file__).parent.parent


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)


def run(code: str) -> str:
    """Run code in a fresh interpreter, where JAX computes as by default: in float32, promoting what it promotes."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_runs_and_prints_its_plan():
    python = blocks("README.md", "python")
    assert len(python) == 4
    checks = """
import jax.numpy as jnp
terms = at["w1@x1"] + at["w1@x3"]
assert jnp.allclose(terms, gradient["w1"], rtol=1e-5) and at["x1"].shape == (32, 10)
assert not jnp.allclose(swapped["w2"], gradient["w2"])
w = params["w1"]
assert jnp.allclose(jax.grad(lambda w: affine(x, w).sum())(w), jax.grad(lambda w: (x @ w).sum())(w), rtol=1e-5)
"""
    printed = run("\n".join(python) + checks)
    plan, watched = printed[: len(blocks("README.md", "text")[0])], printed[len(blocks("README.md", "text")[0]) :]
    assert plan == blocks("README.md", "text")[0]
    assert max(map(len, plan.splitlines())) <= 100
    assert "norm of cotangent" in watched
    assert "x3/linear" in watched
    assert "return mean" in watched
    assert "of what keeping everything takes" in watched


def test_readme_shows_the_loop_as_it_is():
    loop = blocks("README.md", "text")[1]
    source = (ROOT / "funcgrad" / "reverse" / "passes.py").read_text()
    assert re.sub(r"\s+", " ", loop) in re.sub(r"\s+", " ", source)


def test_the_tour_begins_with_a_program():
    (code,) = blocks("docs/how-it-works.md", "python")
    run(f"""
import jax
{code}
assert jnp.allclose(gradient["w"], jax.grad(loss)(params, x)["w"], rtol=1e-5)
assert [v.name for n in graph.nodes for v in n.outputs][:2] == ["dot_general", "h"] and "tanh_x" in str(plan)
""")


def test_the_guide_to_rules_runs_and_is_right():
    code = "\n".join(blocks("docs/rules.md", "python"))
    printed = run(f"""
{code}
plain = fg.plan(squared_error, weights, images, labels)
assert len(plain.pruned) == 2 and "weights/hidden: nothing" in str(plain)
wider = lambda g, x: jnp.where(jnp.abs(x) <= 2, g, 0)
for rule, of in ((wider, hard_tanh), (saturated_x, lambda x: jnp.clip(x, -1, 1))):
    wrong = fg.RuleSet().override(jnp.sign, rule, kind=fg.surrogate(of=of))
    cases = [(jnp.linspace(-2.0, 2.5, 12),)]
    assert [row.name for row in fg.check(jnp.sign, cases, rules=wrong, groups=["values"]).wrong] == ["cotangent of x0"]
assert fg.rulesets.straight_through.clipped(jnp.sign).overrides[0].target.title == binary.overrides[0].target.title
v = jnp.arange(1.0, 5.0)
plain = lambda x: jnp.sum(jnp.sin(x / jnp.sqrt(jnp.sum(x**2) + 1e-6)))
assert jnp.allclose(fg.grad(lambda x: jnp.sum(jnp.sin(normalize(x))))(v), jax.grad(plain)(v), atol=1e-6)
assert [k.name for k in fg.plan(normalize, v).kept] == ["normalize", "normalize.length"]
assert jnp.all(slope == 3)
h = x @ params[0], jax.nn.relu(x @ params[0]) @ params[1]
back = lambda g, h: jnp.where((h > 0) & (g > 0), g, 0)
assert jnp.allclose(saliency, back(back(2 * jax.nn.relu(h[1]), h[1]) @ params[1].T, h[0]) @ params[0].T, rtol=1e-5)
right = jax.grad(two_heads)(heads, x)
assert jnp.allclose(gradients[0]["body"], -right["body"]) and jnp.allclose(gradients[0]["label"], right["label"])
assert jnp.allclose(gradients[2]["body"], -0.1 * right["body"], rtol=1e-5)
assert jnp.all(jnp.isfinite(half_way["body"])) and jnp.allclose(half_way["label"], right["label"], rtol=1e-5)
assert not jnp.allclose(updates[0], jax.grad(loss)(params, x)[0])
assert jnp.allclose(updates[1], jax.grad(loss)(params, x)[1], rtol=1e-5)
assert jnp.allclose(by_bits[0], jax.grad(loss)(params, x)[0], rtol=1e-5)
assert jnp.allclose(by_jax, saliency)
assert not jnp.allclose(noised[0], jax.grad(loss)(params, x)[0])
assert relevance.shape == x.shape and "affine" in str(fg.plan(loss, params, x, argnums=1, rules=by_share))
assert "guided_relu_x [nonlinear]" in str(fg.plan(loss, params, x, rules=guided))
""")
    assert printed == "".join(blocks("docs/rules.md", "text"))


def test_the_guide_to_memory_runs_and_holds():
    code = "\n".join(blocks("docs/memory.md", "python"))
    printed = run(f"""
{code}
expected = jax.grad(loss)(params, x)
assert all(jnp.allclose(g, e, rtol=1e-4, atol=1e-6) for g, e in zip(gradient, expected))
assert memory.peak > 14 * 2**20
assert fg.certify(jax.jit(fg.grad(loss)), params, x).bytes > 14 * 2**20
assert "16 turns at a time" in str(fg.plan(deep, ws, h, memory=0.2))
""")
    assert "would bring it to" in printed
    assert "\nTrue " in printed


def test_the_catalogue_runs_and_is_right():
    code = "\n".join(blocks("docs/rulesets.md", "python"))
    run(f"""
{code}
assert jnp.all(jnp.isfinite(learned["linear0"]["w"])) and jnp.any(learned["linear0"]["w"] != 0)
assert jnp.allclose(shares.sum(1), 1, atol=1e-3)                                       # relevance is conserved
""")


def test_the_catalogue_lists_every_entry():
    """Each as code, `name` or `name(...)`: a name may be a word too."""
    text = (ROOT / "docs/rulesets.md").read_text()
    for module in (getattr(rulesets, name) for name in rulesets.__all__):
        functions = {n: f for n, f in vars(module).items() if inspect.isfunction(f) and n[0] != "_"}
        entries = [n for n, f in functions.items() if f.__module__.startswith(module.__name__) and f.__doc__]
        public = [n for n in entries if "Example:" in functions[n].__doc__]
        assert public
        assert [n for n in public if not re.search(rf"[`.(]{n}[`(]", text)] == []
