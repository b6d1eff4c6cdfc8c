;;; mailsync-gnus-folders.el --- Which Gnus groups show a folder  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; From a folder to the groups that show it, and whether Gnus wants
;; such a group to be looked at.  Nothing here talks to a server, reads
;; a directory or changes anything in Gnus.
;;
;; An nnmaildir group belongs to a folder when the directory that Gnus
;; reads and the folder's directory are the same file.  Only the file
;; system can say so, hence the core resolves the names in the
;; background (`mailsync--resolve'), and the answers are kept in an
;; index.  An nnimap group belongs to a folder when the names agree once
;; the separator and a prefix are accounted for: Gnus forgets which
;; separator the server uses, so each possible spelling is looked up
;; among the groups that there are.
;;
;; A folder that is a maildir of `mail-sources' is not shown by a group:
;; Gnus takes the mail out of it and puts it into groups.  It is found by
;; its directory, as nnmaildir's are; what is done with it is for
;; mailsync-gnus-sources.el.

;;; Code:

(require 'cl-lib)
(require 'subr-x)

;;;; Internal variables

(defvar mailsync-gnus--index nil
  "What is known of Gnus's groups, a `mailsync-gnus--index', or nil.")

(defvar mailsync-gnus--index-request 0
  "Number of the last request for file names to be resolved.")

(defvar mailsync-gnus--index-answer 0
  "Number of the last such request that was answered.")

(defvar mailsync-gnus--index-asked nil
  "Time of the request that is not answered yet, or nil.")

(defvar mailsync-gnus--truenames (make-hash-table :test #'equal)
  "Directory of an nnmaildir group or mail source to its truename.
As last resolved.")

;;;; Declarations

(defvar gnus-active-hashtb)
(defvar gnus-activate-level)
(defvar gnus-killed-list)
(defvar gnus-level-subscribed)
(defvar gnus-newsrc-alist)
(defvar gnus-newsrc-hashtb)
(defvar gnus-plugged)
(defvar gnus-secondary-select-methods)
(defvar gnus-select-method)
(defvar gnus-server-alist)
(defvar gnus-zombie-list)
(defvar mail-source-keyword-map)

(declare-function gnus-agent-method-p "gnus" (method-or-server))
(declare-function gnus-find-method-for-group "gnus" (group &optional info))
(declare-function gnus-group-get-parameter "gnus"
                  (group &optional symbol allow-list))
(declare-function gnus-server-status "gnus" (method))
(declare-function mail-source-value "mail-source" (value))

(declare-function mailsync-account-get "mailsync-accounts" (account key))
(declare-function mailsync--once "mailsync-log" (key level format &rest args))
(declare-function mailsync--remote-file-p "mailsync-log" (name))
(declare-function mailsync--resolve "mailsync-dispatch" (slot names callback))

;;;; What Gnus knows of a group

;; Gnus has macros for these; using them would load Gnus with mailsync.

(defsubst mailsync-gnus--entry (group)
  "Gnus's entry for GROUP, nil for one that is unknown or killed."
  (and (hash-table-p gnus-newsrc-hashtb)
       (gethash group gnus-newsrc-hashtb)))

(defsubst mailsync-gnus--info (group)
  "Gnus's info of GROUP."
  (nth 1 (mailsync-gnus--entry group)))

(defsubst mailsync-gnus--unread (group)
  "Number of unread messages that Gnus has for GROUP, or nil."
  (let ((unread (car (mailsync-gnus--entry group))))
    (and (numberp unread) unread)))

(defsubst mailsync-gnus--active (group)
  "The range of article numbers of GROUP, nil when it was never activated."
  (and (hash-table-p gnus-active-hashtb)
       (gethash group gnus-active-hashtb)))

(defun mailsync-gnus--real-name (group)
  "The name of GROUP as its server has it."
  (if (string-match "\\`[^:]+:" group)
      (substring group (match-end 0))
    group))

(defun mailsync-gnus--server-name (method)
  "The name of METHOD as Gnus's server buffer shows it."
  (format "%s:%s" (car method) (nth 1 method)))

(defun mailsync-gnus--level (info)
  "The level of the group with INFO."
  (let ((rank (nth 1 info)))
    (if (consp rank) (car rank) rank)))

(defun mailsync-gnus--glob-p (glob text)
  "Non-nil if TEXT is what GLOB says, where `*' stands for any text."
  (string-match-p (concat "\\`"
                          (mapconcat #'regexp-quote (split-string glob "\\*")
                                     "\\(?:.\\|\n\\)*")
                          "\\'")
                  text))

(defun mailsync-gnus--active-groups ()
  "All groups that Gnus has active, in the order of its own list."
  (cl-loop for info in (cdr gnus-newsrc-alist)
           when (mailsync-gnus--active (car info))
           collect (car info)))

(defun mailsync-gnus--why-not (group)
  "Why GROUP must be left alone, a string, or nil if it may be checked.
Checking a group for the first time, or one whose server is not
open, may take seconds or ask for a password: that is for the
user to start."
  (let ((entry (mailsync-gnus--entry group))
        method)
    (cond
     ((null entry)
      (cond ((member group gnus-killed-list) "killed")
            ((member group gnus-zombie-list) "zombie")
            (t "unknown to Gnus")))
     ((> (mailsync-gnus--level (nth 1 entry))
         (max gnus-level-subscribed
              (if (numberp gnus-activate-level) gnus-activate-level 0)))
      "level too high")
     ((null (mailsync-gnus--active group)) "never activated")
     ((memq (car (setq method (gnus-find-method-for-group group)))
            '(nnmairix nnrss nndraft nnnil))
      (format "%s groups are not checked" (car method)))
     ;; To look at it is to search again, which may take its time.  It
     ;; has no server that could be closed.
     ((eq (car method) 'nnselect)
      (unless (gnus-group-get-parameter group 'nnselect-rescan t)
        "its parameter nnselect-rescan is not set"))
     ((and (not gnus-plugged) (gnus-agent-method-p method)) "unplugged")
     (t
      (let ((status (gnus-server-status method)))
        (unless (eq status 'ok)
          (format "server %s" (or status "never opened"))))))))

;;;; The index

(cl-defstruct (mailsync-gnus--index
               (:constructor mailsync-gnus--make-index)
               (:copier nil))
  "What the groups of Gnus are good for."
  signature            ; what it was made from
  directories          ; alist: directory of an nnmaildir group -> group
  truenames            ; hash: truename or directory -> list of groups
  servers              ; alist: nnimap method -> hash of names -> groups
  sources              ; alist: directory -> mail source
  source-names         ; hash: truename or directory -> elements of those
  virtual              ; alist: nnvirtual group -> regexp of its members
  selected)            ; the nnselect groups

(defun mailsync-gnus--signature ()
  "Something that differs once Gnus's groups or servers do."
  (list (length gnus-newsrc-alist)
        (length gnus-killed-list)
        gnus-select-method
        gnus-secondary-select-methods
        gnus-server-alist
        (mailsync-gnus--mail-sources)))

(defun mailsync-gnus--map-groups (function)
  "Call FUNCTION with each group of Gnus that mail may reach, and its method.
The killed ones come last: they are not checked, but the status
can say why."
  (let ((methods (make-hash-table :test #'equal)))
    (dolist (info (cdr gnus-newsrc-alist))
      (let* ((group (car info))
             (method (nth 4 info))
             ;; A method that is a list may depend on the group.
             ;; One whose server is not defined any more is an error.
             (found (ignore-errors
                      (if (consp method)
                          (gnus-find-method-for-group group info)
                        (or (gethash method methods)
                            (puthash method
                                     (gnus-find-method-for-group group info)
                                     methods))))))
        (when (memq (car-safe found) '(nnmaildir nnimap nnvirtual nnselect))
          (funcall function group found))))
    (dolist (group (append gnus-killed-list gnus-zombie-list nil))
      (when (and (stringp group)
                 (string-match-p "\\`nn\\(?:maildir\\|imap\\)[+:]" group))
        (when-let* ((found (ignore-errors (gnus-find-method-for-group group))))
          (funcall function group found))))))

(defun mailsync-gnus--nnmaildir-directory (group method)
  "The directory of GROUP on the nnmaildir server METHOD.
It is the name that Gnus uses, most often that of a symbolic link."
  (when-let* ((form (cadr (assq 'directory (cddr method)))))
    (condition-case err
        ;; nnmaildir evaluates it as well.
        (concat (file-name-as-directory
                 (expand-file-name (eval form t)))
                ;; Not `expand-file-name': a name may begin with "~".
                (mailsync-gnus--real-name group))
      (error
       (mailsync--once (list 'gnus-directory method) 'warning
                       "nnmaildir:%s: cannot tell its directory: %s"
                       (nth 1 method) (error-message-string err))
       nil))))

;; Not the value that a check binds (`mailsync-gnus--quietly').
(defun mailsync-gnus--mail-sources ()
  "The value of `mail-sources', or nil if it is not a list."
  (let ((sources (ignore-errors (default-toplevel-value 'mail-sources))))
    (and (proper-list-p sources) sources)))

(defun mailsync-gnus--maildir-sources ()
  "The maildirs of `mail-sources', an alist from directory to source."
  (when (featurep 'mail-source)
    (cl-loop for source in (mailsync-gnus--mail-sources)
             for directory = (and (eq (car-safe source) 'maildir)
                                  (mailsync-gnus--source-directory source))
             when directory collect (cons directory source))))

(defun mailsync-gnus--source-directory (source)
  "The directory of the mail source SOURCE, a maildir, or nil."
  (condition-case err
      ;; Gnus evaluates it as well, by this function.
      (let ((path (mail-source-value
                   (or (plist-get (cdr source) :path)
                       (cadr (assq :path
                                   (cdr (assq 'maildir
                                              mail-source-keyword-map))))))))
        (and (stringp path)
             (file-name-absolute-p path)
             (not (mailsync--remote-file-p path))
             (directory-file-name (expand-file-name path))))
    (error
     (mailsync--once (list 'mail-source source) 'warning
                     "mail-sources: cannot tell the directory of %S: %s"
                     source (error-message-string err))
     nil)))

(defun mailsync-gnus--imap-key (name)
  "The key under which the mailbox NAME is found: INBOX in any case is one."
  (if (and (eq t (compare-strings "INBOX" nil nil name 0 5 t))
           (or (= (length name) 5)
               (memq (aref name 5) '(?/ ?.))))
      (concat "INBOX" (substring name 5))
    name))

(defun mailsync-gnus--make-truenames (directories)
  "A hash from the truenames of DIRECTORIES (an alist) to groups."
  (let ((table (make-hash-table :test #'equal)))
    (pcase-dolist (`(,directory . ,group) directories)
      (dolist (name (mailsync-gnus--directory-names directory))
        (cl-pushnew group (gethash name table) :test #'equal)))
    table))

(defun mailsync-gnus--make-source-names (sources)
  "A hash from the truenames of SOURCES (an alist) to their elements."
  (let ((table (make-hash-table :test #'equal)))
    (dolist (source (reverse sources))
      (dolist (name (mailsync-gnus--directory-names (car source)))
        (cl-pushnew source (gethash name table) :test #'equal)))
    table))

(defun mailsync-gnus--directory-names (directory)
  "DIRECTORY and, if known, its truename."
  (delete-dups
   (delq nil (list directory (gethash directory mailsync-gnus--truenames)))))

(defun mailsync-gnus--build-index ()
  "Build `mailsync-gnus--index' from what Gnus has now."
  (let ((sources (mailsync-gnus--maildir-sources))
        directories servers virtual selected)
    (mailsync-gnus--map-groups
     (lambda (group method)
       (pcase (car method)
         ('nnmaildir
          (when-let* ((directory
                       (mailsync-gnus--nnmaildir-directory group method)))
            (push (cons directory group) directories)))
         ('nnvirtual
          (push (cons group (nth 1 method)) virtual))
         ('nnselect
          (push group selected))
         ('nnimap
          (let ((server (or (assoc method servers)
                            (car (push (cons method
                                             (make-hash-table :test #'equal))
                                       servers))))
                (key (mailsync-gnus--imap-key
                      (mailsync-gnus--real-name group))))
            (push group (gethash key (cdr server))))))))
    (setq mailsync-gnus--index
          (mailsync-gnus--make-index
           :signature (mailsync-gnus--signature)
           :directories directories
           :truenames (mailsync-gnus--make-truenames directories)
           :servers servers
           :sources sources
           :source-names (mailsync-gnus--make-source-names sources)
           :virtual virtual
           :selected selected))))

(defun mailsync-gnus--virtual-groups (group)
  "The groups that GROUP is a member of: those of nnvirtual, and of nnselect.
Of the latter only those that want to follow."
  (and mailsync-gnus--index
       (append
        (cl-loop for (virtual . regexp) in (mailsync-gnus--index-virtual
                                            mailsync-gnus--index)
                 when (and (stringp regexp)
                           (ignore-errors (string-match-p regexp group)))
                 collect virtual)
        ;; Not from one such group to another: that might never end.
        (unless (string-match-p "\\`nn\\(?:select\\|virtual\\)[+:]" group)
          (cl-loop for selected in (mailsync-gnus--index-selected
                                    mailsync-gnus--index)
                   when (mailsync-gnus--selects-p selected group)
                   collect selected)))))

(defun mailsync-gnus--selects-p (selected group)
  "Non-nil if the nnselect group SELECTED is to follow GROUP.
It says by a parameter whether it searches again; where it
searches, only what it hands to Gnus's own function says."
  (and (mailsync-gnus--entry selected)
       (gnus-group-get-parameter selected 'nnselect-rescan t)
       (let* ((specs (gnus-group-get-parameter selected 'nnselect-specs t))
              ;; These are whatever the function wants.
              (where (ignore-errors
                       (cdr (assq 'search-group-spec
                                  (cdr (assq 'nnselect-args specs)))))))
         (or (not (eq (cdr (assq 'nnselect-function specs))
                      'gnus-search-run-query))
             (not (consp where))
             (cl-some (lambda (server)
                        (or (not (consp server))
                            (if (cdr server)
                                (member group (cdr server))
                              ;; All groups of the server.
                              (let ((method (gnus-find-method-for-group group)))
                                (member (car server)
                                        (list (mailsync-gnus--server-name method)
                                              (nth 1 method)))))))
                      where)))))

(defun mailsync-gnus--refresh-index (callback)
  "Build the index anew, have its names resolved, then call CALLBACK.
CALLBACK is called without arguments, from a timer or at once
where there is nothing to resolve.  Only the last request made is
answered; the number of the request is returned."
  (let* ((index (mailsync-gnus--build-index))
         (directories (mailsync-gnus--index-directories index))
         (sources (mailsync-gnus--index-sources index))
         (request (cl-incf mailsync-gnus--index-request)))
    (if (not (or directories sources))
        (progn (setq mailsync-gnus--index-answer request
                     mailsync-gnus--index-asked nil)
               (clrhash mailsync-gnus--truenames)
               (funcall callback))
      (setq mailsync-gnus--index-asked (float-time))
      (mailsync--resolve
       "gnus" (delete-dups (mapcar #'car (append directories sources)))
       (lambda (names)
         (when (= request mailsync-gnus--index-request)
           (setq mailsync-gnus--index-answer request
                 mailsync-gnus--index-asked nil)
           (clrhash mailsync-gnus--truenames)
           (pcase-dolist (`(,name . ,truename) names)
             (puthash name (directory-file-name truename)
                      mailsync-gnus--truenames))
           (setf (mailsync-gnus--index-truenames index)
                 (mailsync-gnus--make-truenames directories)
                 (mailsync-gnus--index-source-names index)
                 (mailsync-gnus--make-source-names sources))
           (funcall callback)))))
    request))

(defun mailsync-gnus--index-current-p ()
  "Non-nil if the index is that of Gnus's present groups, and resolved."
  (and mailsync-gnus--index
       (= mailsync-gnus--index-request mailsync-gnus--index-answer)
       (equal (mailsync-gnus--index-signature mailsync-gnus--index)
              (mailsync-gnus--signature))))

(defun mailsync-gnus--forget-index ()
  "Forget what is known of Gnus's groups."
  (setq mailsync-gnus--index nil
        mailsync-gnus--index-asked nil)
  ;; An answer that is still on its way is no longer wanted.
  (cl-incf mailsync-gnus--index-request)
  (clrhash mailsync-gnus--truenames))

;;;; From folder to groups

(defun mailsync-gnus--imap-candidates (folder)
  "Names that an IMAP server may have for FOLDER, the likeliest first.
FOLDER is canonical: `/' between its levels, INBOX for the inbox."
  (if (equal folder "INBOX")
      (list folder)
    (let ((dotted (string-replace "/" "." folder)))
      (delete-dups
       (append
        (list folder dotted
              ;; A server may keep everything below INBOX.
              (concat "INBOX/" folder) (concat "INBOX." dotted)
              ;; Outside `nnimap-use-namespaces' (Gnus marks it so).
              (concat "#" folder) (concat "#" dotted))
        ;; The prefix on disk only.
        (when (string-prefix-p "INBOX/" folder)
          (list (substring folder 6) (substring dotted 6))))))))

(defun mailsync-gnus--local-server-p (method)
  "Non-nil if the nnimap METHOD is served by this machine."
  (let* ((defs (cddr method))
         (address (or (cadr (assq 'nnimap-address defs)) (nth 1 method))))
    (or (eq (cadr (assq 'nnimap-stream defs)) 'shell)
        (and (stringp address)
             (or (member address '("localhost" "::1" "ip6-localhost"))
                 (string-prefix-p "127." address))))))

(defun mailsync-gnus--called-p (method name)
  "Non-nil if NAME, which a user has written, stands for METHOD."
  (member name (list (nth 1 method)
                     (mailsync-gnus--server-name method)
                     ;; As in the names of its groups.
                     (format "%s+%s" (car method) (nth 1 method)))))

(defun mailsync-gnus--imap-servers (account)
  "The nnimap servers that show the folders of ACCOUNT.
An alist from method to a hash from names to groups.  The account
says which by `:gnus-server'; otherwise it is the one server on
this machine, if there is just one."
  (let ((servers (mailsync-gnus--index-servers mailsync-gnus--index))
        (wanted (mailsync-account-get account :gnus-server)))
    (if wanted
        (cl-remove-if-not
         (lambda (server) (mailsync-gnus--called-p (car server) wanted))
         servers)
      (let ((likely (mailsync-gnus--likely-servers account)))
        (and (= (length likely) 1) likely)))))

(defun mailsync-gnus--likely-servers (account)
  "The nnimap servers that may show the folders of ACCOUNT, as the index has them.
They are on this machine where its mail is; where all of that is on a server,
they are elsewhere, or there is no other."
  (let* ((servers (mailsync-gnus--index-servers mailsync-gnus--index))
         (local (cl-remove-if-not
                 (lambda (server)
                   (mailsync-gnus--local-server-p (car server)))
                 servers)))
    (if (and (mailsync-account-get account :remote)
             (not (mailsync-account-get account :maildir)))
        (or (cl-set-difference servers local) local)
      local)))

(defun mailsync-gnus--ambiguous-p (account)
  "Non-nil if it cannot be told which nnimap server serves ACCOUNT."
  (and mailsync-gnus--index
       (not (mailsync-account-get account :gnus-server))
       (cdr (mailsync-gnus--likely-servers account))))

(defun mailsync-gnus--derived-groups (account folder names)
  "The groups of FOLDER in ACCOUNT, as the index has it.
NAMES are names of its directory, the truename among them; empty
where there is no directory."
  (let (groups)
    (dolist (name names)
      (setq groups
            (append groups
                    (gethash name (mailsync-gnus--index-truenames
                                   mailsync-gnus--index)))))
    (dolist (server (mailsync-gnus--imap-servers account))
      (setq groups
            (append groups
                    (cl-some (lambda (name)
                               (gethash (mailsync-gnus--imap-key name)
                                        (cdr server)))
                             (mailsync-gnus--imap-candidates folder)))))
    (delete-dups groups)))

(defun mailsync-gnus-account-folders (account)
  "List the folders of ACCOUNT that groups of Gnus show, and that can be checked.
This is for an account without a maildir: its folders are those of its nnimap
server, called as there, and those that it gives groups for."
  (unless mailsync-gnus--index
    (mailsync-gnus--build-index))
  (let ((groups (mailsync-account-get account :gnus-groups))
        folders)
    (dolist (server (mailsync-gnus--imap-servers account))
      (maphash (lambda (name groups)
                 (unless (cl-every #'mailsync-gnus--why-not groups)
                   (push name folders)))
               (cdr server)))
    (delete-dups (append (unless (functionp groups) (mapcar #'car groups))
                         (nreverse folders)))))

(defun mailsync-gnus--change-names (change)
  "The names of CHANGE's directory under which the index may have it."
  (delete-dups
   (delq nil (mapcar (lambda (name)
                       (and (stringp name) (directory-file-name name)))
                     (list (plist-get change :truename)
                           (plist-get change :directory))))))

(defun mailsync-gnus--sources (change)
  "The mail sources that are CHANGE's folder, as far as the index has it.
A list of (DIRECTORY . SOURCE)."
  (when mailsync-gnus--index
    (delete-dups
     (cl-loop for name in (mailsync-gnus--change-names change)
              append (gethash name (mailsync-gnus--index-source-names
                                    mailsync-gnus--index))))))

(defun mailsync-gnus--unresolved-sources-p ()
  "Non-nil if a mail source's directory was not there when it was looked for."
  (and mailsync-gnus--index
       (cl-some (lambda (source)
                  (not (gethash (car source) mailsync-gnus--truenames)))
                (mailsync-gnus--index-sources mailsync-gnus--index))))

(defun mailsync-gnus--configured-groups (change)
  "The groups that the account of CHANGE names for it.
The value is a list in a list, or nil when the account leaves it
to mailsync."
  (let* ((account (plist-get change :account))
         (groups (mailsync-account-get account :gnus-groups)))
    (cond
     ((functionp groups)
      (condition-case err
          (list (ensure-list (funcall groups change)))
        (error
         (mailsync--once (list 'gnus-groups account) 'error
                         "%s: :gnus-groups: %s" account
                         (error-message-string err))
         nil)))
     (groups
      (when-let* ((entry (assoc (plist-get change :folder) groups)))
        (list (ensure-list (cdr entry))))))))

(defun mailsync-gnus-folder-groups (folder)
  "List the Gnus groups that show FOLDER, by their full names.
FOLDER is a change, that is a plist with `:account', `:folder'
and `:directory' (and `:truename' if known), or a list \(ACCOUNT
FOLDER DIRECTORY).  Groups that Gnus has no entry for are left
out.  Nothing is read from disk: an nnmaildir group that reads
the directory through a symbolic link is only found once mailsync
has resolved it, as it does in the background after Gnus started."
  (let ((change (if (keywordp (car folder))
                    folder
                  (list :account (nth 0 folder)
                        :folder (nth 1 folder)
                        :directory (nth 2 folder)))))
    (cl-remove-if-not #'mailsync-gnus--entry
                      (mailsync-gnus--all-groups change))))

(defun mailsync-gnus--all-groups (change)
  "The groups of CHANGE's folder, killed and misspelt ones too."
  (let ((configured (mailsync-gnus--configured-groups change)))
    (if configured
        (car configured)
      (unless mailsync-gnus--index
        (mailsync-gnus--build-index))
      (mailsync-gnus--derived-groups (plist-get change :account)
                                     (plist-get change :folder)
                                     (mailsync-gnus--change-names change)))))

(provide 'mailsync-gnus-folders)
;;; mailsync-gnus-folders.el ends here
