package main

import (
	"encoding/xml"
	"strings"
)

// The two formats, as far as they are used here (Microsoft: "Group Policy ADMX
// Syntax Reference Guide", and "multiText Element" for lists). The order of the
// fields is the order that the format's schema asks for.

const namespace = "http://schemas.microsoft.com/GroupPolicy/2006/07/PolicyDefinitions"

type definitions struct {
	XMLName       xml.Name   `xml:"policyDefinitions"`
	Xmlns         string     `xml:"xmlns,attr"`
	Revision      string     `xml:"revision,attr"`
	SchemaVersion string     `xml:"schemaVersion,attr"`
	Target        target     `xml:"policyNamespaces>target"`
	Minimum       minimum    `xml:"resources"`
	Supported     []named    `xml:"supportedOn>definitions>definition"`
	Categories    []category `xml:"categories>category"`
	Policies      []policy   `xml:"policies>policy"`
}

type target struct {
	Prefix    string `xml:"prefix,attr"`
	Namespace string `xml:"namespace,attr"`
}

type minimum struct {
	Revision string `xml:"minRequiredRevision,attr"`
}

type named struct {
	Name        string `xml:"name,attr"`
	DisplayName string `xml:"displayName,attr"`
}

type category struct {
	named

	Parent *ref `xml:"parentCategory,omitempty"`
}

type ref struct {
	Ref string `xml:"ref,attr"`
}

type policy struct {
	Name         string    `xml:"name,attr"`
	Class        string    `xml:"class,attr"`
	DisplayName  string    `xml:"displayName,attr"`
	ExplainText  string    `xml:"explainText,attr"`
	Presentation string    `xml:"presentation,attr,omitempty"`
	Key          string    `xml:"key,attr"`
	ValueName    string    `xml:"valueName,attr,omitempty"`
	Parent       ref       `xml:"parentCategory"`
	SupportedOn  ref       `xml:"supportedOn"`
	Enabled      *decimal  `xml:"enabledValue>decimal,omitempty"`
	Disabled     *decimal  `xml:"disabledValue>decimal,omitempty"`
	Elements     *elements `xml:"elements,omitempty"`
}

type decimal struct {
	Value int `xml:"value,attr"`
}

type elements struct {
	Text *element `xml:"text,omitempty"`
	Enum *element `xml:"enum,omitempty"`
	List *element `xml:"multiText,omitempty"`
}

type element struct {
	ID         string `xml:"id,attr"`
	ValueName  string `xml:"valueName,attr"`
	Required   bool   `xml:"required,attr,omitempty"`
	MaxLength  int    `xml:"maxLength,attr,omitempty"`
	MaxStrings int    `xml:"maxStrings,attr,omitempty"`
	Items      []item `xml:"item,omitempty"`
}

type item struct {
	DisplayName string `xml:"displayName,attr"`
	Value       string `xml:"value>string"`
}

type resources struct {
	XMLName       xml.Name       `xml:"policyDefinitionResources"`
	Xmlns         string         `xml:"xmlns,attr"`
	Revision      string         `xml:"revision,attr"`
	SchemaVersion string         `xml:"schemaVersion,attr"`
	DisplayName   string         `xml:"displayName"`
	Description   string         `xml:"description"`
	Strings       []text         `xml:"resources>stringTable>string"`
	Presentations []presentation `xml:"resources>presentationTable>presentation"`
}

// text is kept as XML, because encoding/xml would write each line break as a number.
type text struct {
	ID  string `xml:"id,attr"`
	XML string `xml:",innerxml"`
}

func textOf(id, s string) text {
	return text{ID: id, XML: strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)}
}

type presentation struct {
	ID   string    `xml:"id,attr"`
	Text *textBox  `xml:"textBox,omitempty"`
	Enum *labelled `xml:"dropdownList,omitempty"`
	List *labelled `xml:"multiTextBox,omitempty"`
}

type textBox struct {
	RefID   string `xml:"refId,attr"`
	Label   string `xml:"label"`
	Default string `xml:"defaultValue,omitempty"`
}

type labelled struct {
	RefID       string `xml:"refId,attr"`
	NoSort      bool   `xml:"noSort,attr,omitempty"`
	DefaultItem *int   `xml:"defaultItem,attr,omitempty"`
	Label       string `xml:",chardata"`
}
