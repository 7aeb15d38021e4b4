"""What the source alone does not tell: functions named as their file, fields of tuples."""

import griffe


class Signatures(griffe.Extension):
    """`neoteny.probes.norms` is the function, not the file; a NamedTuple shows its fields."""

    def on_package(self, *, pkg, loader, **kwargs):
        loader.resolve_aliases(implicit=True)  # by way of the files that are hidden below
        for module in [pkg, *_below(pkg)]:
            for name in module.exports or ():
                member = module.members.get(name)
                if _is_file(member) and name in member.members:
                    module.members[name] = griffe.Alias(name, member.members[name], parent=module)

    def on_class(self, *, cls, **kwargs):
        if not any(str(base) == "NamedTuple" for base in cls.bases):
            return
        fields = [
            griffe.Parameter(
                name,
                annotation=field.annotation,
                kind=griffe.ParameterKind.positional_or_keyword,
                default=field.value,
            )
            for name, field in cls.members.items()
            if field.is_attribute
        ]
        first = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
        made = griffe.Function("__init__", parameters=griffe.Parameters(first, *fields))
        cls.set_member("__init__", made)


def _is_file(member) -> bool:
    return member is not None and not member.is_alias and member.is_module


def _below(module):
    """All modules of a package, as they lie in files."""
    found = [member for member in module.members.values() if _is_file(member)]
    return [*found, *(deeper for one in found for deeper in _below(one))]
