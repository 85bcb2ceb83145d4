"""Checks a source file against an interface that was read from NVIDIA's own bindings.

`read_interface` runs inside a process that can import them; `Checker` follows one source file with
`ast`: annotations, constructors and what the documented signatures return tell what a name holds.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from types import ModuleType
from typing import Any

SIGNATURE = re.compile(r'^(?:\d+\. )?(\w+)\((.*)\)(?: -> (.*))?$')
NESTED = {'(': 1, '[': 1, '<': 1, ')': -1, ']': -1, '>': -1}


def read_interface(module: ModuleType) -> dict[str, dict[str, Any]]:
    """What a module offers, ready for JSON.

    Returns:
        `classes`: by name, then by attribute, the signatures, None where it is no method;
        `enums`: members by name; `functions`: signatures by name; `values`: other names.
    """
    found: dict[str, dict[str, Any]] = {'classes': {}, 'enums': {}, 'functions': {}, 'values': {}}
    for name in dir(module):
        _read_one(found, name, getattr(module, name))
    return found


def _read_one(found: dict[str, dict[str, Any]], name: str, value: object) -> None:
    if hasattr(value, '__members__'):
        found['enums'][name] = sorted(value.__members__)
    elif isinstance(value, type):
        members = {key: getattr(value, key, None) for key in dir(value)}
        found['classes'][name] = {
            key: _signatures(member) if callable(member) and not isinstance(member, type) else None
            for key, member in members.items()
        }
        for key, member in members.items():
            if hasattr(member, '__members__'):
                found['enums'][f'{name}.{key}'] = sorted(member.__members__)
    elif callable(value):
        found['functions'][name] = _signatures(value)
    else:
        found['values'][name] = None


def _signatures(function: object) -> list[dict[str, Any]]:
    """Every overload that a docstring lists: names of arguments, how many must be, the result."""
    overloads = []
    for line in (getattr(function, '__doc__', '') or '').splitlines():
        match = SIGNATURE.match(line.strip())
        if match and match[1] == getattr(function, '__name__', match[1]):
            arguments = [part for part in _split(match[2]) if part and part != '*']
            overloads.append(
                {
                    'names': [_argument_name(part) for part in arguments],
                    'required': sum('=' not in part for part in arguments),
                    'returns': (match[3] or '').split('.')[-1].split('::')[-1],
                }
            )
    return overloads


def _split(text: str) -> list[str]:
    """Parts between commas outside brackets."""
    parts, depth = [''], 0
    for letter in text:
        depth += NESTED.get(letter, 0)
        if letter == ',' and depth == 0:
            parts.append('')
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _argument_name(text: str) -> str:
    """`count` of `size_t count`, `count: int` and `count: int = 3`."""
    return text.split('=')[0].split(':')[0].split()[-1]


class Checker:
    """Follows a source file.

    Attributes:
        uses: everything of the interface that the file uses, as `Class.attribute`.
        problems: everything that the interface lacks, as sentences.
        unfollowed: attributes of things that are not of the interface, as far as is known.
    """

    def __init__(self, source: str, alias: str, interface: dict[str, dict[str, Any]]) -> None:
        """Checks a file.

        Args:
            source: of the file.
            alias: the name that the module has in it.
            interface: what `read_interface` gives.
        """
        self.alias, self.interface = alias, interface
        self.uses: set[str] = set()
        self.problems: list[str] = []
        self.unfollowed: set[str] = set()
        self._names: dict[str, tuple[str, str]] = {}
        tree = ast.parse(source)
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                self._check_class(node)
            else:
                self._check(node, {})

    def _check_class(self, node: ast.ClassDef) -> None:
        own: dict[str, tuple[str, str]] = {}
        for method in node.body:
            scope = self._arguments(method)
            for item in ast.walk(method):
                if isinstance(item, (ast.Assign, ast.AnnAssign)):
                    self._learn(item, scope)
            own |= {name: kind for name, kind in scope.items() if name.startswith('self.')}
        for base in node.bases:
            kind = self._kind(base, {})
            if kind and kind[0] == 'class':
                self._check_overrides(node, kind[1])
        self._check(node, own)

    def _check_overrides(self, node: ast.ClassDef, base: str) -> None:
        """A subclass must bring every method of its base, with the same arguments."""
        methods = {
            item.name: [argument.arg for argument in item.args.args]
            for item in node.body
            if isinstance(item, ast.FunctionDef)
        }
        for name, signatures in self.interface['classes'][base].items():
            if name.startswith('_') or not signatures:
                continue
            self.uses.add(f'{base}.{name}')
            if methods.get(name) not in [overload['names'] for overload in signatures]:
                self.problems.append(
                    f'{node.name}.{name} has the arguments {methods.get(name)}, '
                    f'{base} has {signatures[0]["names"]}'
                )

    def _check(self, node: ast.AST, scope: dict[str, tuple[str, str]]) -> None:
        """Walks a node in the order of the source; each function has a scope of its own."""
        if isinstance(node, ast.FunctionDef):
            scope = scope | self._arguments(node)
        for child in ast.iter_child_nodes(node):
            self._check(child, scope)
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            self._learn(node, scope)
        elif isinstance(node, ast.Attribute):
            self._check_attribute(node, scope)
        elif isinstance(node, ast.Call):
            self._check_call(node, scope)

    def _arguments(self, node: ast.AST) -> dict[str, tuple[str, str]]:
        """What the arguments of a function are annotated as."""
        scope: dict[str, tuple[str, str]] = {}
        for argument in node.args.args if isinstance(node, ast.FunctionDef) else ():
            self._learn_annotation(argument.arg, argument.annotation, scope)
        return scope

    def _learn(self, node: ast.Assign | ast.AnnAssign, scope: dict[str, tuple[str, str]]) -> None:
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if not isinstance(target, (ast.Name, ast.Attribute)):
            return
        name = ast.unparse(target)
        kind = self._kind(node.value, scope) if node.value is not None else None
        scope.pop(name, None)
        if kind:
            scope[name] = kind
        if isinstance(node, ast.AnnAssign):
            self._learn_annotation(name, node.annotation, scope)

    def _learn_annotation(
        self, name: str, annotation: ast.AST | None, scope: dict[str, tuple[str, str]]
    ) -> None:
        for part in ast.walk(annotation) if annotation is not None else ():
            kind = self._kind(part, {}) if isinstance(part, ast.Attribute) else None
            if kind and kind[0] == 'class':
                scope[name] = ('instance', kind[1])

    def _kind(self, node: ast.AST, scope: dict[str, tuple[str, str]]) -> tuple[str, str] | None:
        """What an expression is: module, class, enum, function, method or instance of ..."""
        if isinstance(node, ast.Name) and node.id == self.alias:
            return 'module', ''
        if isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node) in scope:
            return scope[ast.unparse(node)]
        if isinstance(node, ast.Call):
            return self._returned(self._kind(node.func, scope))
        base = self._kind(node.value, scope) if isinstance(node, ast.Attribute) else None
        if base is None:
            return None
        name = f'{base[1]}.{node.attr}'.lstrip('.')
        if name in self.interface['enums']:
            return 'enum', name
        if base[0] == 'module':
            kinds = {'classes': 'class', 'functions': 'function'}
            return next(
                ((kind, name) for key, kind in kinds.items() if name in self.interface[key]), None
            )
        return ('method', name) if base[0] in ('instance', 'class') else None

    def _returned(self, called: tuple[str, str] | None) -> tuple[str, str] | None:
        if called and called[0] == 'class':
            return 'instance', called[1]
        for overload in self._overloads(called):
            if overload['returns'] in self.interface['classes']:
                return 'instance', overload['returns']
        return None

    def _overloads(self, called: tuple[str, str] | None) -> list[dict[str, Any]]:
        if called is None or called[0] not in ('class', 'function', 'method'):
            return []
        if called[0] == 'function':
            return self.interface['functions'][called[1]]
        name, _, attribute = called[1].partition('.')
        return self.interface['classes'][name].get(attribute or '__init__') or []

    def _check_attribute(self, node: ast.Attribute, scope: dict[str, tuple[str, str]]) -> None:
        base = self._kind(node.value, scope)
        if base is None or base[0] in ('method', 'function'):
            self.unfollowed.add(ast.unparse(node))
            return
        name = f'{base[1]}.{node.attr}'.lstrip('.')
        self.uses.add(name)
        offered = {
            'module': lambda: any(node.attr in part for part in self.interface.values()),
            'enum': lambda: node.attr in [*self.interface['enums'][base[1]], '__members__'],
        }.get(base[0], lambda: node.attr in self.interface['classes'].get(base[1], ()))
        if not offered():
            self.problems.append(f'line {node.lineno}: there is no {name}')

    def _check_call(self, node: ast.Call, scope: dict[str, tuple[str, str]]) -> None:
        called = self._kind(node.func, scope)
        overloads = self._overloads(called)
        if not overloads:
            return
        is_bound = called[0] in ('class', 'method')  # self is not written
        given = len(node.args) + is_bound
        for overload in overloads:
            keywords = {keyword.arg for keyword in node.keywords}
            if overload['required'] <= given + len(keywords) <= len(
                overload['names']
            ) and keywords <= set(overload['names'][given:]):
                return
        self.problems.append(
            f'line {node.lineno}: {ast.unparse(node)} does not fit '
            f'{called[1]}({", ".join(overloads[0]["names"])})'
        )


if __name__ == '__main__':
    bindings = importlib.import_module('tensorrt_bindings')
    sys.stdout.write(
        json.dumps(
            {
                'version': bindings.__version__,
                'tensorrt': read_interface(bindings),
                'cudart': read_interface(importlib.import_module('cuda.bindings.runtime')),
            }
        )
    )
